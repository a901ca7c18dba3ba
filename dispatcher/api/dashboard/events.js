// The section of live events. Not EventSource, which can't show a key: fetch, read bit by bit.

import { inWords, isOurs, open, Refused } from "./api.js";
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

const MOST_ROWS = 200;
const DRAW_MS = 250; // hundreds of events a second are drawn four times a second
const SILENCE_MS = 40_000; // the server says something every 15 s
const MOST_WAIT_MS = 15_000;
const KINDS = { dead: "bad", delivered: "good" };

/** Listen while the section is shown. */
export function events() {
  const view = new Tail();
  return { show: ({ signal }) => view.follow(signal) };
}

/** Cut a stream of server-sent events, `{event, data, comment}`, out of pieces of text. */
export class Cutter {
  constructor() {
    this.rest = "";
  }

  cut(piece) {
    const blocks = (this.rest + piece).split("\n\n");
    this.rest = blocks.pop();
    return blocks.map(readBlock);
  }
}

function readBlock(block) {
  const found = { event: "", data: "", comment: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon) || "comment";
    if (name in found) found[name] += line.slice(colon + 1).replace(/^ /, "");
  }
  return found;
}

class Tail {
  constructor() {
    this.waiting = []; // rows to draw
    this.missed = 0;
    this.isPaused = false;
    this.drawn = table("Events, newest first", [
      { title: "Time (UTC)" },
      { title: "Event" },
      { title: "Destination", isWide: true },
      { title: "Message or call", isWide: true },
      { title: "Details", isWide: true },
    ]);
    byId("event-table").append(this.drawn.element);
    byId("event-pause").addEventListener("click", () => this.toggle());
    byId("event-clear").addEventListener("click", () => this.clear());
    byId("event-kind").addEventListener("change", () => this.clear());
    byId("event-filter").addEventListener("input", () => this.clear());
  }

  /** Listen until `signal`, and again when the connection is lost. */
  async follow(signal) {
    const drawing = setInterval(() => this.draw(), DRAW_MS);
    signal.addEventListener("abort", () => clearInterval(drawing));
    for (let failures = 0; !signal.aborted; failures += 1) {
      const trouble = await this.listen(signal, () => (failures = 0));
      if (signal.aborted || trouble === null) return;
      const waitMs = Math.min(1000 * 2 ** failures, MOST_WAIT_MS);
      this.say(`${trouble} Listening again in ${duration(waitMs / 1000)}.`);
      await sleep(waitMs, signal);
    }
  }

  /** Read one stream to its end; what went wrong, null when nobody wants more. */
  async listen(signal, tellOpen) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
      const answer = await open("v1/events", { signal: AbortSignal.any([signal, silence.signal]) });
      tellOpen();
      this.sayState();
      const cutter = new Cutter();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return "The server ended the stream.";
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE_MS);
        for (const block of cutter.cut(value)) this.take(block);
      }
    } catch (error) {
      if (isOurs(error, signal) || (error instanceof Refused && error.status === 401)) return null;
      return silence.signal.aborted ? "The server fell silent." : inWords(error);
    } finally {
      clearTimeout(timer);
    }
  }

  take({ event, data, comment }) {
    const dropped = /^dropped (\d+)$/.exec(comment);
    if (dropped) this.put(() => droppedRow(this.drawn, Number(dropped[1])));
    if (!event) return;
    const fields = JSON.parse(data);
    if (this.isWanted(event, fields)) this.put(() => this.drawn.row(cells(event, fields)));
  }

  put(makeRow) {
    if (this.isPaused) {
      this.missed += 1;
      this.sayState();
      return;
    }
    this.waiting.push(makeRow);
    if (this.waiting.length > MOST_ROWS) this.waiting.shift();
  }

  isWanted(event, { destination, id, function: name = "" }) {
    const kind = byId("event-kind").value;
    const word = byId("event-filter").value.trim().toLowerCase();
    return (
      (kind === "" || kind === event || (kind === "call" && isCall(event))) &&
      (destination.toLowerCase().includes(word) ||
        name.toLowerCase().includes(word) ||
        id.startsWith(word))
    );
  }

  draw() {
    if (this.waiting.length === 0 || this.isPaused) return;
    const body = this.drawn.body;
    body.prepend(...this.waiting.reverse().map((makeRow) => makeRow()));
    this.waiting = [];
    while (body.children.length > MOST_ROWS) body.lastChild.remove();
  }

  toggle() {
    this.draw();
    this.isPaused = !this.isPaused;
    this.missed = 0;
    byId("event-pause").textContent = this.isPaused ? "Resume" : "Pause";
    this.sayState();
  }

  clear() {
    this.waiting = [];
    this.drawn.body.replaceChildren();
  }

  sayState() {
    if (!this.isPaused) this.say(`Listening. The last ${MOST_ROWS} events are kept here.`);
    else if (this.missed === 0) this.say("Paused.");
    // Rounded, so that a screen reader is not told of every one.
    else if (this.missed < 10 || this.missed % 10 === 0)
      this.say(`Paused; ${plural(this.missed, "event")} not shown.`);
  }

  say(text) {
    setText(byId("event-status"), text);
  }
}

function cells(event, fields) {
  const section = isCall(event) ? "calls" : "messages";
  return [
    h("time", { datetime: fields.time }, fields.time.slice(11, 23)),
    tag(event.replace("_", " "), kindOf(event, fields)),
    h("bdi", { class: "code" }, visible(fields.destination)),
    h("a", { class: "code", href: `#/${section}/${fields.id}` }, fields.id),
    h("bdi", {}, details(event, fields)),
  ];
}

function kindOf(event, { status }) {
  return event === "call.ended" ? (CALL_KINDS[status] ?? "") : (KINDS[event] ?? "");
}

function isCall(event) {
  return event.startsWith("call.");
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

function droppedRow(drawn, number) {
  return drawn.row([
    "",
    tag("skipped"),
    "",
    "",
    `${count(number)} events came too fast and were not sent.`,
  ]);
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", resolve);
  });
}
