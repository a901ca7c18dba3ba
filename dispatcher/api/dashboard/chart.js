// A line chart of the last three minutes, drawn in the pixels there are.

import { h, s, setText } from "./dom.js";
import { WINDOW_MS } from "./series.js";

const HEIGHT = 168;
const LEFT = 58;
const BOTTOM = 22;
const TOP = 8;
const GRID_LINES = 2;
// Two looks and a slow answer: a longer time without any is a gap.
const GAP_MS = 7000;

export class Chart {
  /** `lines` are `{field, name, style}`; `say` puts a value into words; the scale reaches to
   * `least` at least. */
  constructor(title, lines, say, least) {
    this.least = least;
    this.lines = lines;
    // The whole line lies below, so that one that is the same elsewhere shows through.
    this.drawn = lines.toSorted(
      (one, other) => (other.style === "first") - (one.style === "first"),
    );
    this.say = say;
    this.points = [];
    this.values = lines.map(() => h("span", { class: "value" }, "–"));
    this.svg = s("svg", { class: "chart", role: "img", height: HEIGHT, "aria-label": title });
    this.title = title;
    const frame = h("div", { class: "frame" }, this.svg);
    this.element = h(
      "figure",
      { class: "card" },
      h("figcaption", {}, h("h3", {}, title)),
      h("ul", { class: "legend" }, ...lines.map((line, at) => this.entry(line, at))),
      frame,
    );
    new ResizeObserver(() => this.draw()).observe(frame);
  }

  /** Show points `{at, …}`, the last one at the right. */
  show(points) {
    this.points = points;
    const last = points.at(-1) ?? {};
    const said = this.lines.map((line) => this.say(last[line.field]));
    said.forEach((text, at) => setText(this.values[at], text));
    const words = this.lines.map((line, at) => `${line.name} ${said[at]}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}, last three minutes. Now: ${words}.`);
    this.draw();
  }

  draw() {
    const width = this.svg.parentElement.clientWidth;
    if (width === 0) return; // not shown
    const end = this.points.at(-1)?.at ?? 0;
    const top = niceTop(this.points, this.lines, this.least);
    const x = (at) => LEFT + (1 - (end - at) / WINDOW_MS) * (width - LEFT - 4);
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(
      ...this.grid(top, width, y),
      ...this.drawn.flatMap((line) =>
        runs(this.points, line.field).map((run) => draw(run, line, x, y)),
      ),
    );
  }

  grid(top, width, y) {
    const parts = [];
    for (let at = 0; at <= GRID_LINES; at += 1) {
      const value = (top * at) / GRID_LINES;
      const place = Math.round(y(value)) + 0.5;
      parts.push(s("line", { class: "grid", x1: LEFT, x2: width, y1: place, y2: place }));
      parts.push(s("text", { x: LEFT - 8, y: place + 4, "text-anchor": "end" }, this.say(value)));
    }
    parts.push(s("text", { x: LEFT, y: HEIGHT - 4 }, "3 min ago"));
    parts.push(s("text", { x: width - 4, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
    return parts;
  }

  entry(line, at) {
    const sample = s("line", { class: `line ${line.style}`, x1: 1, x2: 21, y1: 5, y2: 5 });
    const swatch = s("svg", { width: 22, height: 10, "aria-hidden": "true" }, sample);
    return h("li", {}, swatch, h("span", {}, line.name), this.values[at]);
  }
}

/** The stretches of points that have a value and follow each other. */
function runs(points, field) {
  const found = [];
  let last = null;
  for (const point of points) {
    const value = point[field];
    if (value !== null && value !== undefined) {
      if (last === null || point.at - last > GAP_MS) found.push([]);
      found.at(-1).push([point.at, value]);
      last = point.at;
    } else last = null;
  }
  return found;
}

function draw(run, line, x, y) {
  const places = run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  // A single point has no length, but a round end.
  if (places.length === 1) places.push(places[0]);
  return s("polyline", { class: `line ${line.style}`, points: places.join(" ") });
}

/** A round number that is not below any value. */
function niceTop(points, lines, least) {
  const values = points.flatMap((point) => lines.map((line) => point[line.field] ?? 0));
  const most = Math.max(least, ...values);
  const unit = 10 ** Math.floor(Math.log10(most));
  return unit * [1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * unit >= most * 0.999);
}
