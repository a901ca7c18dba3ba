// All of a dead letter: request, headers, body, attempts, and what can be done about it.

import { inWords } from "./api.js";
import { h, table, terms } from "./dom.js";
import { bytes, count, duration, instant, outcome, reason, visible } from "./format.js";
import { purgeOne, redriveOne } from "./moving.js";
import { notify } from "./notice.js";

const MOST_TEXT = 64 * 1024;
const MOST_HEX = 4 * 1024;
const HEX_WIDTH = 16;
// What is text has none of these: controls other than tab and line ends.
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/;

/** The parts of the page about a dead letter, a message or a call; `refresh` is called when it is none any more. */
export function letterParts(letter, refresh) {
  const body = fromBase64(letter.body);
  return [
    h(
      "article",
      { class: "card" },
      h("h3", {}, "Dead letter"),
      h("p", { class: "explanation" }, visible(letter.detail)),
      terms([
        ["Died", h("time", { datetime: letter.dead_at }, `${instant(letter.dead_at)} UTC`)],
        [
          "Cause",
          `${outcome(letter.last_status, letter.last_error)}, ${reason(letter.reason, letter.kind)}`,
        ],
        ...callTerms(letter),
        ["Redriven before", letter.redrives ? `${count(letter.redrives)} times` : "never"],
      ]),
      actions(letter, refresh),
    ),
    h("article", { class: "card" }, h("h3", {}, "Attempts"), history(letter.history)),
    letter.call === null
      ? h("article", { class: "card" }, h("h3", {}, "Request headers"), headers(letter.headers))
      : "",
    h(
      "article",
      { class: "card" },
      h("h3", {}, `${letter.call === null ? "Body" : "Input"}, ${bytes(body.length)}`),
      ...bodyParts(body),
      download(letter.id, body),
    ),
  ];
}

/** What only a call has. */
function callTerms(letter) {
  if (letter.call === null) return [];
  const { application, version, error_type: type } = letter.call;
  const code = (text) => (text === "" ? null : h("bdi", { class: "code" }, visible(text)));
  return [
    ["Function", code(letter.function)],
    ["Endpoint", code(letter.destination)],
    ["Error type", code(type)],
    ["Application", code(application)],
    ["Version", code(version)],
  ];
}

function actions(letter, refresh) {
  const isCall = letter.call !== null;
  const redrive = async () => {
    try {
      await redriveOne(letter.id);
      await refresh();
    } catch (error) {
      notify(inWords(error), "bad");
    }
  };
  const purge = async () => {
    if (await purgeOne(letter.id)) await refresh();
  };
  return h(
    "div",
    { class: "tools" },
    h("button", { type: "button", class: "primary", click: redrive }, "Redrive"),
    h("button", { type: "button", class: "danger-text", click: purge }, "Purge"),
    isCall ? h("a", { class: "button", href: `#/calls/${letter.id}` }, "Show the call") : null,
  );
}

function history(attempts) {
  const drawn = table("Every attempt, the first one first", [
    { title: "Attempt", isNumber: true, isHeader: true },
    { title: "Started (UTC)", isTight: true },
    { title: "Took", isNumber: true },
    { title: "Outcome" },
    { title: "Start of the response", isWide: true },
  ]);
  const cells = (one) => [
    count(one.attempt),
    instant(one.started_at),
    duration(one.duration_ms / 1000),
    // A run that went well has neither; a message that did is no dead letter.
    one.status === null && one.error === null ? "ok" : outcome(one.status, one.error),
    one.response_start === null ? "" : h("bdi", { class: "code" }, visible(one.response_start)),
  ];
  drawn.body.append(...attempts.map((one) => drawn.row(cells(one))));
  return drawn.element;
}

function headers(lines) {
  if (lines.length === 0) return h("p", { class: "empty" }, "None.");
  const drawn = table("Headers in the order they are sent", [
    { title: "Name", isHeader: true, isWide: true },
    { title: "Value", isWide: true },
  ]);
  const cell = (text) => h("bdi", { class: "code" }, visible(text));
  drawn.body.append(...lines.map((line) => drawn.row(line.map(cell))));
  return drawn.element;
}

/** The body as text if it is, else as hexadecimal digits. */
export function bodyParts(body) {
  if (body.length === 0) return [h("p", { class: "empty" }, "Empty.")];
  const text = asText(body);
  const most = text === null ? MOST_HEX : MOST_TEXT;
  const part = body.subarray(0, most);
  const label = text === null ? "Body as hexadecimal digits" : "Body as text";
  const content =
    text === null ? hexDump(part) : visible(text.slice(0, most).replaceAll("\r\n", "\n"));
  return [
    h(
      "p",
      { class: "hint" },
      text === null
        ? "Not text: hexadecimal digits, and the characters among them."
        : "Text in UTF-8.",
    ),
    h("pre", { tabindex: "0", role: "region", "aria-label": label }, content),
    body.length > most
      ? h("p", { class: "hint" }, `The first ${bytes(most)} are shown; download the rest.`)
      : "",
  ];
}

function download(id, body) {
  const save = () => {
    // Never the type it claims to be: a browser must not show a stranger's page as ours.
    const url = URL.createObjectURL(new Blob([body], { type: "application/octet-stream" }));
    h("a", { href: url, download: `${id}.bin` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  return h(
    "div",
    { class: "tools" },
    h("button", { type: "button", click: save }, "Download body"),
  );
}

export function fromBase64(text) {
  const characters = atob(text);
  const found = new Uint8Array(characters.length);
  for (let at = 0; at < characters.length; at += 1) found[at] = characters.charCodeAt(at);
  return found;
}

function asText(body) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    return CONTROLS.test(text) ? null : text;
  } catch {
    return null;
  }
}

function hexDump(body) {
  const lines = [];
  for (let at = 0; at < body.length; at += HEX_WIDTH) {
    const part = [...body.subarray(at, at + HEX_WIDTH)];
    const digits = part.map((one) => one.toString(16).padStart(2, "0")).join(" ");
    const characters = part
      .map((one) => (one >= 32 && one < 127 ? String.fromCharCode(one) : "."))
      .join("");
    lines.push(
      `${at.toString(16).padStart(6, "0")}  ${digits.padEnd(HEX_WIDTH * 3 - 1)}  ${characters}`,
    );
  }
  return lines.join("\n");
}
