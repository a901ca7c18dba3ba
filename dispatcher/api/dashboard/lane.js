// One lane: its state in a word, and its row of the table, which is kept and changed in place.

import { call, inWords } from "./api.js";
import { h, setText } from "./dom.js";
import { count, distance, duration, lastError, rate, visible } from "./format.js";
import { notify } from "./notice.js";
import { addressOf, button } from "./values.js";

const NONE = "–";

/** What a lane does: `{word, kind, detail}`; all of it fits on one line. */
export function stateOf(lane) {
  if (lane.held) return { word: "held", kind: "warn", detail: "" };
  if (lane.paused_until !== null) {
    const isAhead = Date.parse(lane.paused_until) > Date.now();
    return { word: "backs off", kind: "bad", detail: isAhead ? distance(lane.paused_until) : "" };
  }
  if (lane.breaker !== "closed") return { word: "probing", kind: "bad", detail: "" };
  if (lane.failing_since) return { word: "failing", kind: "bad", detail: "" };
  if (lane.in_flight > 0) return { word: "sending", kind: "good", detail: "" };
  return { word: lane.ready > 0 ? "ready" : "waiting", kind: "", detail: "" };
}

/** The messages of a lane that are neither delivered nor dead. */
export function waitingOf(lane) {
  return lane.ready + (lane.scheduled ?? 0) + lane.in_flight;
}

/** What tells lanes from each other: one of messages and one of calls may have one destination. */
export function nameOf(lane) {
  return `${lane.kind} ${lane.destination}`;
}

/** A row `{element, show}`; `drawn` is its table, `changed` is called when it was held or resumed. */
export function laneRow(drawn, lane, changed) {
  const text = () => h("span");
  const parts = {
    tag: text(),
    detail: h("small"),
    waiting: text(),
    inFlight: text(),
    rate: text(),
    attempt: text(),
    oldest: text(),
    error: text(),
    errorAt: h("small"),
    hold: button("Hold", () => act(parts.hold, toggle), { kind: "small" }),
    retry: button("Retry now", () => act(parts.retry, retry), {
      kind: "small",
      label: `Retry ${visible(lane.destination)} now`,
    }),
  };
  let shown = lane;
  const act = async (pressed, doIt) => {
    if (pressed.getAttribute("aria-disabled") === "true") return;
    pressed.setAttribute("aria-disabled", "true");
    try {
      notify(await doIt(shown));
    } catch (error) {
      notify(inWords(error), "bad");
    } finally {
      pressed.removeAttribute("aria-disabled");
    }
    changed();
  };
  const buttons = canBeHeld(lane) ? [lane.kind === "message" ? parts.retry : null, parts.hold] : [];
  const element = drawn.row([
    h("div", {}, h("bdi", { class: "code" }, visible(lane.destination)), linksOf(lane)),
    h("span", { class: "one-line" }, parts.tag, " ", parts.detail),
    parts.waiting,
    parts.inFlight,
    parts.rate,
    parts.attempt,
    parts.oldest,
    h("div", { class: "two-lines" }, parts.error, " ", parts.errorAt),
    buttons.length ? h("div", { class: "row-buttons" }, ...buttons) : "",
  ]);
  return {
    element,
    show(next) {
      shown = next;
      fill(parts, next);
    },
  };
}

function fill(parts, lane) {
  const { word, kind, detail } = stateOf(lane);
  parts.tag.className = `tag ${kind}`;
  setText(parts.tag, word);
  setText(parts.detail, detail);
  setText(parts.waiting, count(waitingOf(lane)));
  setText(parts.inFlight, `${count(lane.in_flight)} of ${limitOf(lane)}`);
  setText(parts.rate, lane.delivered_per_s === null ? NONE : `${rate(lane.delivered_per_s)}/s`);
  setText(parts.attempt, attemptOf(lane));
  setText(parts.oldest, lane.oldest_at === null ? NONE : distance(lane.oldest_at));
  parts.oldest.title = lane.oldest_at ?? "";
  setText(parts.error, lane.last_error === null ? NONE : lastError(lane.last_error));
  setText(parts.errorAt, lane.last_error_at === null ? "" : distance(lane.last_error_at));
  setText(parts.hold, lane.held ? "Resume" : "Hold");
  const label = `${lane.held ? "Resume" : "Hold"} ${visible(lane.destination)}`;
  parts.hold.setAttribute("aria-label", label);
}

function limitOf({ limit, rate: bound }) {
  const most = limit === null ? "any" : count(limit);
  return bound ? `${most}, ${bound}` : most;
}

function attemptOf({ attempt_p50_ms: median, attempt_p95_ms: p95 }) {
  if (median === null) return NONE;
  return `${duration(median / 1000)} / ${duration(p95 / 1000)}`;
}

// Sessions are fetched by whoever wants to: there is nothing to hold.
function canBeHeld(lane) {
  return /^https?:/.test(lane.destination);
}

function linksOf({ kind, destination }) {
  if (kind === "call") {
    const address = addressOf("events", { kind: "call", destination });
    return h("div", { class: "row-links" }, h("small", {}, "calls"), h("a", { href: address }, "events"));
  }
  const link = (text, section) => h("a", { href: addressOf(section, { destination }) }, text);
  return h(
    "div",
    { class: "row-links" },
    link("messages", "messages"),
    link("dead letters", "dead-letters/list"),
    link("events", "events"),
  );
}

/** Hold a destination, or resume it; what came of it in words. */
async function toggle({ destination, held }) {
  await act(destination, held ? "resume" : "hold");
  return held
    ? `${visible(destination)} is sent to again.`
    : `${visible(destination)} is held. Its messages and calls wait.`;
}

/** Let what waits be due, with a probe where the breaker is open. */
async function retry({ destination }) {
  const { message } = await act(destination, "retry");
  return `${visible(destination)}: ${message}`;
}

function act(destination, verb) {
  const path = `v1/destinations/${encodeURIComponent(destination)}/${verb}`;
  return call(path, { method: "POST" });
}
