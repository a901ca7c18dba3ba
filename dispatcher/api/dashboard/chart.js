// A line chart of what the server remembers, drawn in the pixels there are. Mouse, finger and arrow
// keys read single values from it; all charts show the same instant then.

import { h, s, setText } from "./dom.js";
import { clock, duration } from "./format.js";
import { runs, scaleOf } from "./scale.js";

const HEIGHT = 160;
const LEFT = 56;
const RIGHT = 6;
const BOTTOM = 22;
const TOP = 8;
const TICKS_S = [120, 300, 900]; // how far the words below the axis are apart
const MOST_TICKS = 6;
const KEYS = { ArrowLeft: -1, ArrowRight: 1, PageDown: -30, PageUp: 30, Home: -1e6, End: 1e6 };

/** The instant that is looked at, in milliseconds, null when none is; one for all charts. */
export class Pointer {
  constructor() {
    this.at = null;
    this.listeners = [];
  }

  move(at, chart) {
    this.at = at;
    for (const listener of this.listeners) listener(at, chart);
  }
}

export class Chart {
  /** `lines` are `{field, name, style}`; `say` puts a value into words; `scale` is what `scaleOf`
   * takes: `{least, mayBeLog, isBinary}`. */
  constructor({ title, lines, say, ...scale }, pointer) {
    Object.assign(this, { title, lines, say, pointer });
    this.wanted = scale;
    this.scale = null; // what is drawn has one
    this.past = null; // what is drawn: `{stepS, endsAtMs, length, series}`
    this.values = lines.map(() => h("span", { class: "value" }, "–"));
    this.span = h("span", { class: "hint" });
    this.svg = s("svg", { class: "chart", height: HEIGHT, "aria-hidden": "true" });
    this.cross = s("g", { class: "cross" });
    this.readout = h("div", { class: "readout", "aria-hidden": "true", hidden: true });
    this.frame = this.makeFrame();
    this.element = h(
      "figure",
      { class: "card" },
      h("figcaption", {}, h("h3", {}, title), this.span),
      h("ul", { class: "legend" }, ...lines.map((line, at) => this.entry(line, at))),
      this.frame,
    );
    pointer.listeners.push((at, chart) => this.point(at, chart === this));
    new ResizeObserver(() => this.draw()).observe(this.frame);
  }

  /** Draw a past, `{stepS, endsAtMs, length, series}`, the last value at the right. */
  show(past) {
    this.past = past;
    this.draw();
    this.point(this.pointer.at, !this.readout.hidden);
  }

  // A slider along the time: that is what screen readers and keys know.
  makeFrame() {
    const frame = h(
      "div",
      { class: "frame", tabindex: "0", role: "slider", "aria-label": this.title, "aria-valuemin": "0" },
      this.svg,
      this.readout,
    );
    frame.addEventListener("pointermove", (event) => this.follow(event));
    frame.addEventListener("pointerdown", (event) => this.touch(event));
    frame.addEventListener("pointerleave", (event) => this.leave(event));
    frame.addEventListener("pointercancel", () => this.pointer.move(null, null));
    // Not where a finger or the mouse gave it the focus: the value under them is what is looked at.
    frame.addEventListener("focus", () => frame.matches(":focus-visible") && this.step(0));
    frame.addEventListener("blur", () => this.pointer.move(null, null));
    frame.addEventListener("keydown", (event) => this.press(event));
    return frame;
  }

  touch(event) {
    this.frame.focus({ preventScroll: true, focusVisible: false });
    this.follow(event);
  }

  // What a finger was put on is read once it is lifted: it stays until another place is touched.
  leave(event) {
    if (event.pointerType !== "touch") this.pointer.move(null, null);
  }

  follow(event) {
    if (this.past === null) return;
    const { left, width } = this.frame.getBoundingClientRect();
    const share = (event.clientX - left - LEFT) / (width - LEFT - RIGHT);
    this.look(Math.round(share * (this.past.length - 1)));
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") this.pointer.move(null, null);
    else if (event.key in KEYS) this.step(KEYS[event.key]);
    else return;
    event.preventDefault();
  }

  step(number) {
    if (this.past === null) return;
    const now = this.pointer.at === null ? this.past.length - 1 : this.indexOf(this.pointer.at);
    this.look(now + number);
  }

  look(index) {
    const last = this.past.length - 1;
    this.pointer.move(this.instantOf(Math.min(last, Math.max(0, index))), this);
  }

  instantOf(index) {
    const { endsAtMs, stepS, length } = this.past;
    return endsAtMs - (length - 1 - index) * stepS * 1000;
  }

  indexOf(at) {
    const { endsAtMs, stepS, length } = this.past;
    const index = length - 1 - Math.round((endsAtMs - at) / (stepS * 1000));
    return Math.min(length - 1, Math.max(0, index));
  }

  /** Show what was at an instant, or what is now; `isHere`: this chart is the one looked at. */
  point(at, isHere) {
    if (this.past === null) return;
    const index = at === null ? this.past.length - 1 : this.indexOf(at);
    const said = this.lines.map(({ field }) => this.say(this.past.series[field]?.[index]));
    said.forEach((text, each) => setText(this.values[each], text));
    setText(this.span, at === null ? this.spanInWords() : this.instantInWords(index));
    this.frame.setAttribute("aria-valuemax", this.past.length - 1);
    this.frame.setAttribute("aria-valuenow", index);
    const words = this.lines.map(({ name }, each) => `${name} ${said[each]}`).join(", ");
    this.frame.setAttribute("aria-valuetext", `${this.instantInWords(index)}: ${words}`);
    this.drawCross(at === null ? null : index);
    this.drawReadout(at !== null && isHere ? index : null, said);
  }

  spanInWords() {
    const { stepS, length } = this.past;
    const span = stepS * length === 3600 ? "hour" : duration(stepS * length);
    return `last ${span}${this.scale?.isLog ? ", log scale" : ""}`;
  }

  instantInWords(index) {
    const ago = (this.past.length - 1 - index) * this.past.stepS;
    return `${clock(this.instantOf(index))} UTC, ${ago === 0 ? "now" : `${duration(ago)} ago`}`;
  }

  draw() {
    const width = this.frame.clientWidth;
    if (width === 0 || this.past === null) return; // not shown
    const series = this.lines.map(({ field }) => this.past.series[field] ?? []);
    const known = series.flat().filter((value) => value !== null);
    this.scale = scaleOf(known, this.wanted);
    this.svg.setAttribute("width", width);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const lines = this.lines.flatMap((line, at) =>
      runs(series[at]).map((run) => this.drawRun(run, line, width)),
    );
    // What is drawn last lies above: the line that matters most is named first.
    this.svg.replaceChildren(...this.grid(width), ...lines.reverse(), this.cross);
    if (known.length === 0) {
      const place = { class: "nothing", x: LEFT + 12, y: HEIGHT / 2 };
      this.svg.append(s("text", place, "Nothing was measured."));
    }
  }

  x(index, width) {
    return LEFT + (index / (this.past.length - 1)) * (width - LEFT - RIGHT);
  }

  y(value) {
    return TOP + (1 - this.scale.place(value)) * (HEIGHT - TOP - BOTTOM);
  }

  grid(width) {
    const parts = [];
    for (const value of this.scale.ticks) {
      const place = Math.round(this.y(value)) + 0.5;
      parts.push(s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: place, y2: place }));
      parts.push(s("text", { x: LEFT - 8, y: place + 4, "text-anchor": "end" }, this.say(value)));
    }
    for (const [index, text] of this.timeTicks(width)) {
      const anchor = text === "now" ? "end" : "middle";
      const x = this.x(index, width);
      parts.push(s("text", { x, y: HEIGHT - 5, "text-anchor": anchor }, text));
    }
    return parts;
  }

  /** `[index, text]` of every full quarter of an hour, or of less where the span is short, that has
   * room, and of now. */
  timeTicks(width) {
    const { stepS, length } = this.past;
    const span = stepS * length;
    const tick = TICKS_S.find((one) => span / one <= MOST_TICKS) ?? TICKS_S.at(-1);
    const found = [[length - 1, "now"]];
    for (let index = 0; index < length; index += 1) {
      const seconds = Math.round(this.instantOf(index) / 1000);
      const isTick = Math.floor(seconds / tick) !== Math.floor((seconds - stepS) / tick);
      const x = this.x(index, width);
      if (isTick && x > LEFT + 18 && x < width - 60)
        found.push([index, clock(this.instantOf(index)).slice(0, 5)]);
    }
    return found;
  }

  drawRun(run, line, width) {
    const places = run.map(
      ([at, value]) => `${this.x(at, width).toFixed(1)},${this.y(value).toFixed(1)}`,
    );
    // A single value has no length, but a round end.
    if (places.length === 1) places.push(places[0]);
    return s("polyline", { class: `line ${line.style}`, points: places.join(" ") });
  }

  drawCross(index) {
    if (index === null || this.scale === null) {
      this.cross.replaceChildren();
      return;
    }
    const x = this.x(index, this.frame.clientWidth);
    const dots = this.lines.map(({ field, style }) => {
      const value = this.past.series[field]?.[index];
      if (value === null || value === undefined) return null;
      return s("circle", { class: `spot ${style}`, cx: x, cy: this.y(value), r: 3.5 });
    });
    const line = s("line", { class: "rule", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM });
    this.cross.replaceChildren(line, ...dots.filter((one) => one !== null));
  }

  drawReadout(index, said) {
    this.readout.hidden = index === null;
    if (index === null) return;
    const rows = this.lines.map(({ name }, at) =>
      h("div", {}, h("span", {}, name), h("strong", {}, said[at])),
    );
    this.readout.replaceChildren(h("p", {}, this.instantInWords(index)), ...rows);
    const width = this.frame.clientWidth;
    const x = this.x(index, width);
    const room = this.readout.offsetWidth + 12;
    this.readout.style.left = `${x + room < width ? x + 12 : Math.max(0, x - room)}px`;
  }

  entry(line, at) {
    const sample = s("line", { class: `line ${line.style}`, x1: 1, x2: 17, y1: 5, y2: 5 });
    const swatch = s("svg", { width: 18, height: 10, "aria-hidden": "true" }, sample);
    return h("li", {}, swatch, h("span", {}, line.name), this.values[at]);
  }
}
