// One message: where it stands and why, what can be done, and all of it when it is a dead letter.

import { call, Refused } from "./api.js";
import { bodyCard, readStart } from "./body.js";
import { h, tag, terms } from "./dom.js";
import { bytes, count, lastError, standing, visible } from "./format.js";
import { headerOf, headersCard } from "./headers.js";
import { letterParts, readLetter } from "./letter.js";
import { addressOf, button, code, linkButton, when } from "./values.js";
import { actOnOne, retryOne } from "./waiting.js";

/** What an id is: 28 hexadecimal digits. */
export const ID = /^[0-9a-f]{28}$/;
/** How states of messages look. */
export const MESSAGE_KINDS = {
  dead: "bad",
  delivered: "good",
  scheduled: "warn",
  held: "warn",
  "backs off": "bad",
  probing: "bad",
};
// The number of a call, the last 16 digits of its id, has its top bit set.
const CALL = /^[0-9a-f]{12}[89a-f]/;

/** The parts of the page about the message with an id; `refresh` reads it again. */
export async function readMessage(id, signal, refresh) {
  if (CALL.test(id)) return readDeadCall(id, signal, refresh);
  const [message, explanation] = await Promise.all([
    call(`v1/messages/${id}`, { signal }),
    call(`v1/messages/${id}/explain`, { signal }),
  ]);
  const parts = [summary(message, explanation, refresh)];
  if (message.state === "dead") {
    return [...parts, ...letterParts(await readLetter(id, signal), refresh)];
  }
  return message.headers === null ? parts : [...parts, ...(await requestParts(message, signal))];
}

/** What is sent: not kept of what was delivered. */
async function requestParts({ id, headers, size_bytes: size }, signal) {
  const path = `v1/messages/${id}/body`;
  const reveal = async () => (await call(`v1/messages/${id}?reveal=true`)).headers;
  let start;
  try {
    start = await readStart(path, size, signal);
  } catch (error) {
    if (error instanceof Refused && error.status < 500) return []; // it was delivered meanwhile
    throw error;
  }
  return [
    headersCard(headers, { reveal }),
    bodyCard("Body", {
      start,
      size,
      path,
      name: `${id}.bin`,
      contentType: headerOf(headers, "content-type"),
      coding: headerOf(headers, "content-encoding"),
    }),
  ];
}

/** A dead call, or where any other one is shown. */
async function readDeadCall(id, signal, refresh) {
  try {
    return letterParts(await readLetter(id, signal), refresh);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    return [
      h("p", { class: "empty" }, "This is the id of a function call, and no dead letter."),
      h("div", { class: "tools" }, linkButton("Show the call", `#/calls/${id}`)),
    ];
  }
}

function summary(message, explanation, refresh) {
  const { destination } = message;
  const lane = h("a", { href: addressOf("lanes", { destination }) }, code(destination));
  return h(
    "article",
    { class: "card" },
    h("h3", {}, "Message ", stateTag(message)),
    h("p", { class: "explanation" }, explanation.message),
    terms([
      ["Id", h("span", { class: "code" }, message.id)],
      ["Destination", lane],
      ["Request", code(`${message.method} ${message.target}`)],
      ["Body", message.size_bytes === null ? null : bytes(message.size_bytes)],
      ["Accepted", when(message.accepted_at)],
      ["Attempts", count(message.attempts)],
      ["Last error", lastError(message.last_error)],
      ["Last error there", message.last_error === null ? lastError(message.destination_error) : null],
      ...instantTerms(message, explanation),
      ...optionTerms(message.options),
    ]),
    actions(message, refresh),
  );
}

/** When it goes on, each instant once: mostly its next attempt is all that it waits for. */
function instantTerms({ next_attempt_at: next }, { until, expected_at: expected }) {
  return [
    ["Next attempt", when(next)],
    ["Waits until", until === next ? null : when(until)],
    ["Expected", [next, until].includes(expected) ? null : when(expected)],
  ];
}

/** The state of a message, or what its destination or a key of it does in the way of it, as a word
 * in a frame. */
export function stateTag(message) {
  const word = standing(message);
  return tag(word.replace("_", " "), MESSAGE_KINDS[word] ?? "");
}

function actions({ id, state }, refresh) {
  const isWaiting = state === "ready" || state === "scheduled";
  const act = (name) => async () => {
    if (await actOnOne(name, id)) await refresh();
  };
  const retry = async () => {
    await retryOne(id);
    await refresh();
  };
  const events = linkButton("Live events", addressOf("events", { text: id }));
  return h(
    "div",
    { class: "tools" },
    button("Refresh", refresh),
    ...(isWaiting
      ? [
          button("Retry now", retry),
          button("Redirect", act("redirect")),
          button("Give up", act("dead-letter")),
          button("Cancel message", act("cancel"), { kind: "danger-text" }),
        ]
      : []),
    state === "delivered" || state === "dead" ? null : events,
  );
}

/** What the caller asked for; a label and an order key lead to the messages that have it too. */
function optionTerms(options) {
  return Object.entries(options).map(([key, value]) => {
    const words = key.replaceAll("_", " ");
    const name = words[0].toUpperCase() + words.slice(1);
    const shown = h("bdi", { class: "code" }, visible(value));
    const isFilter = key === "label" || key === "order_key";
    const address = addressOf("messages", { [key]: value });
    return [name, isFilter ? h("a", { href: address }, shown) : shown];
  });
}
