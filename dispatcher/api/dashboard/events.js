// The section of live events: a stream, and a filter over what was heard.

import { byId, h, setText, table, tag } from "./dom.js";
import {
  bytes,
  CALL_KINDS,
  count,
  duration,
  outcome,
  plural,
  reason,
  stepInWords,
  visible,
} from "./format.js";
import { foldOnPhones } from "./filter.js";
import { hasFailed, isCall, MOST_KEPT, Recent } from "./recent.js";
import { follow } from "./stream.js";
import { addressOf } from "./values.js";

const MOST_ROWS = 200;
const DRAW_MS = 250; // hundreds of events a second are drawn four times a second
const KINDS = { dead: "bad", delivered: "good" };
const FIELDS = ["kind", "destination", "text"];

/** Listen while the section is shown. */
export function events() {
  const view = new Events();
  return { show: (address) => view.show(address) };
}

class Events {
  constructor() {
    this.recent = new Recent();
    this.trouble = null; // what is wrong with the stream, in words
    this.isStale = false; // what is drawn is not what there is
    this.rows = new WeakMap(); // by entry: one that is drawn again is the same row
    this.drawn = table("Events, newest first", [
      { title: "Time (UTC)", isTight: true },
      { title: "Event", isTight: true },
      { title: "Destination", isWide: true },
      { title: "Message or call", isWide: true },
      { title: "Details", isWide: true },
    ]);
    this.drawn.element.classList.add("compact");
    byId("event-table").append(this.drawn.element);
    byId("event-pause").addEventListener("click", () => this.toggle());
    byId("event-clear").addEventListener("click", () => this.clear());
    byId("event-form").addEventListener("submit", (event) => event.preventDefault());
    foldOnPhones(byId("event-form"), byId("event-open"));
    for (const name of FIELDS) byId(`event-${name}`).addEventListener("input", () => this.narrow());
  }

  /** Show what the address filters for, and listen until `signal`. */
  show({ query, signal }) {
    for (const name of FIELDS) byId(`event-${name}`).value = query.get(name) ?? "";
    this.draw();
    const drawing = setInterval(() => this.isStale && this.draw(), DRAW_MS);
    signal.addEventListener("abort", () => clearInterval(drawing));
    return follow(signal, {
      take: (block) => this.take(block),
      tell: (trouble) => this.tell(trouble),
    });
  }

  /** What is heard is drawn at its time; a gap is shown where nobody listened. */
  take({ event, data, comment }) {
    const dropped = /^dropped (\d+)$/.exec(comment);
    if (dropped) this.add({ dropped: Number(dropped[1]) });
    if (event) this.add({ event, fields: JSON.parse(data) });
  }

  add(entry) {
    this.recent.add(entry);
    if (this.recent.isHeld) this.sayState();
    else this.isStale = true;
  }

  tell(trouble) {
    const hasListened = this.recent.shown.length > 0 || this.recent.waiting > 0;
    if (trouble === null && hasListened) this.add({ gap: new Date().toISOString() });
    this.trouble = trouble;
    this.sayState();
  }

  // The address says what is filtered for, and is not another page of the history for every key.
  narrow() {
    const address = addressOf("events", this.filter());
    history.replaceState(null, "", address);
    this.draw();
  }

  filter() {
    return Object.fromEntries(FIELDS.map((name) => [name, byId(`event-${name}`).value]));
  }

  draw() {
    this.isStale = false;
    const wanted = this.recent.matching(this.filter(), MOST_ROWS);
    const rows = wanted.map((entry) => this.rowOf(entry));
    const { body } = this.drawn;
    // What stays is not touched: a row that is read or has the focus keeps it.
    const kept = new Set(rows);
    for (const row of [...body.children]) if (!kept.has(row)) row.remove();
    rows.forEach((row, at) => {
      if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
    });
    this.sayState();
  }

  rowOf(entry) {
    const row = this.rows.get(entry) ?? this.drawn.row(cells(entry));
    this.rows.set(entry, row);
    return row;
  }

  toggle() {
    if (this.recent.isHeld) this.recent.resume();
    else this.recent.hold();
    byId("event-pause").textContent = this.recent.isHeld ? "Resume" : "Pause";
    this.draw();
  }

  clear() {
    this.recent.clear();
    this.draw();
  }

  sayState() {
    setText(byId("event-status"), this.trouble ?? this.state());
  }

  state() {
    const heard = this.recent.shown.filter((entry) => entry.fields).length;
    if (this.recent.isHeld) {
      const { waiting } = this.recent;
      // Rounded, so that a screen reader is not told of every one.
      const told = waiting < 10 ? waiting : waiting - (waiting % 10);
      return told === 0 ? "Paused." : `Paused; ${plural(told, "event")} came since and wait.`;
    }
    const isFiltered = FIELDS.some((name) => byId(`event-${name}`).value.trim() !== "");
    if (heard === 0) return "Listening. Nothing has happened since.";
    const kept = `Listening. The last ${count(MOST_KEPT)} events are kept here`;
    return isFiltered ? `${kept}; the filter looks at all of them.` : `${kept}.`;
  }
}

function cells({ event, fields, dropped, gap }) {
  if (gap !== undefined) {
    return [gap.slice(11, 23), tag("gap"), "", "", "What happened before this was not listened to."];
  }
  if (dropped !== undefined) {
    return ["", tag("skipped"), "", "", `${plural(dropped, "event")} came too fast and are not here.`];
  }
  const section = isCall(event) ? "calls" : "messages";
  return [
    h("time", { datetime: fields.time }, fields.time.slice(11, 23)),
    tag(event.replace("_", " "), kindOf(event, fields)),
    h("bdi", { class: "code" }, visible(fields.destination)),
    h("a", { class: "code", href: `#/${section}/${fields.id}` }, fields.id),
    h("bdi", {}, details(event, fields), fields.label && ` · ${visible(fields.label)}`),
  ];
}

function kindOf(event, fields) {
  if (event === "call.ended") return CALL_KINDS[fields.status] ?? "";
  if (event === "attempted") return hasFailed(fields) ? "warn" : "";
  return KINDS[event] ?? "";
}

function details(event, fields) {
  if (isCall(event)) {
    const what = stepInWords({ ...fields, step: event.slice("call.".length) });
    return visible(what === "" ? fields.function : `${fields.function}: ${what}`);
  }
  switch (event) {
    case "accepted":
      return visible(`${fields.method} ${fields.target}, ${bytes(fields.size_bytes)}`);
    case "attempted":
      return `attempt ${fields.attempt}: ${outcome(fields.status, fields.error)} after ${duration(fields.duration_ms / 1000)}`;
    case "delivered":
      return `HTTP ${fields.status} at attempt ${fields.attempt}, ${duration(fields.duration_ms / 1000)}`;
    case "dead":
      return `${reason(fields.reason, fields.kind)} after ${plural(fields.attempts, "attempt")}`;
    default:
      return "";
  }
}
