// Where values stand on the vertical axis of a chart, and which are written beside it. Pure.

const DECADES_FOR_LOG = 2;
const MOST_DECADES = 5; // more are not all written

/** The scale for values: `{isLog, ticks, place}`, `place` from 0 (bottom) to 1 (top).
 *
 * It begins at 0 and reaches to `least` at least. With `mayBeLog` it is logarithmic where the
 * values span two decades and more: on a linear one all the small ones would lie on the ground.
 * `isBinary`: of bytes, whose units are powers of 1024. */
export function scaleOf(values, { least, mayBeLog = false, isBinary = false }) {
  const positive = values.filter((value) => value > 0);
  const most = positive.reduce((one, other) => Math.max(one, other), 0);
  const fewest = positive.reduce((one, other) => Math.min(one, other), Infinity);
  const isLog = mayBeLog && most >= fewest * 10 ** DECADES_FOR_LOG;
  return isLog ? logarithmic(fewest, most) : linear(Math.max(least, most), isBinary);
}

function linear(most, isBinary) {
  const unit = isBinary ? 1024 ** Math.floor(Math.log(most) / Math.log(1024)) : 1;
  const step = niceStep(most / unit) * unit;
  const number = Math.ceil(most / step - 1e-9);
  const top = step * number;
  const ticks = Array.from({ length: number + 1 }, (_, at) => step * at);
  return { isLog: false, ticks, place: (value) => value / top };
}

function logarithmic(fewest, most) {
  const low = Math.floor(Math.log10(fewest) + 1e-9);
  const high = Math.ceil(Math.log10(most) - 1e-9);
  const every = Math.ceil((high - low) / MOST_DECADES);
  const ticks = [];
  for (let decade = low; decade <= high; decade += every) ticks.push(10 ** decade);
  // Nothing at all has no logarithm: it lies on the ground.
  const place = (value) =>
    value <= 0 ? 0 : Math.max(0, (Math.log10(value) - low) / (high - low));
  return { isLog: true, ticks, place };
}

/** 1, 2 or 5 of some power of ten, so that two to five steps reach to `most`. */
function niceStep(most) {
  const unit = 10 ** Math.floor(Math.log10(most));
  return unit * [0.2, 0.5, 1, 2].find((step) => most / (step * unit) <= 5.0001);
}

/** The stretches of values, `[[at, value], …]`, that follow each other; null is a gap. */
export function runs(values) {
  const found = [];
  let isOpen = false;
  values.forEach((value, at) => {
    if (value === null || value === undefined) isOpen = false;
    else {
      if (!isOpen) found.push([]);
      found.at(-1).push([at, value]);
      isOpen = true;
    }
  });
  return found;
}
