// The section of one message: where it stands and why, and all of it when it is a dead letter.

import { call, inWords, isOurs, Refused } from "./api.js";
import { ask } from "./dialog.js";
import { byId, h, setText, swap, tag, terms } from "./dom.js";
import { count, distance, instant, lastError, visible } from "./format.js";
import { letterParts } from "./letter.js";
import { notify } from "./notice.js";

const ID = /^[0-9a-f]{28}$/;
const KINDS = { dead: "bad", delivered: "good" };

/** Show the message whose id the address has. */
export function search() {
  const input = byId("message-id");
  let again = () => {};
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const address = `#/messages/${encodeURIComponent(input.value.trim().toLowerCase())}`;
    if (location.hash === address) again();
    else location.hash = address;
  });
  return {
    async show({ rest, signal }) {
      again = () => this.show({ rest, signal });
      if (rest) input.value = rest;
      await showMessage(rest, signal, again);
    },
  };
}

async function showMessage(id, signal, refresh) {
  const result = byId("search-result");
  setText(byId("search-status"), "");
  if (id === "" || !ID.test(id)) {
    result.replaceChildren();
    const text = "An id is 28 digits, 0 to 9 and a to f. Copy it from X-Dispatcher-Message-Id.";
    setText(byId("search-status"), id === "" ? "" : text);
    return;
  }
  if (result.dataset.id !== id) result.replaceChildren(h("p", { class: "hint" }, "Searching…"));
  result.dataset.id = id;
  try {
    swap(result, await read(id, signal, refresh));
  } catch (error) {
    if (isOurs(error, signal)) return;
    swap(result, []);
    setText(byId("search-status"), inWords(error));
  }
}

// The number of a call, the last 16 digits of its id, has its top bit set.
const CALL = /^[0-9a-f]{12}[89a-f]/;

async function read(id, signal, refresh) {
  if (CALL.test(id)) return readDeadCall(id, signal, refresh);
  const [message, explanation] = await Promise.all([
    call(`v1/messages/${id}`, { signal }),
    call(`v1/messages/${id}/explain`, { signal }),
  ]);
  const parts = [summary(message, explanation, refresh)];
  if (message.state === "dead") {
    const letter = await call(`v1/dead-letters/${id}`, { signal });
    parts.push(...letterParts(letter, refresh));
  }
  return parts;
}

/** A dead call, or where any other one is shown. */
async function readDeadCall(id, signal, refresh) {
  try {
    return letterParts(await call(`v1/dead-letters/${id}`, { signal }), refresh);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    return [
      h("p", { class: "empty" }, "This is the id of a function call, and no dead letter."),
      h(
        "div",
        { class: "tools" },
        h("a", { class: "button", href: `#/calls/${id}` }, "Show the call"),
      ),
    ];
  }
}

function summary(message, explanation, refresh) {
  const isWaiting = message.state === "ready" || message.state === "scheduled";
  return h(
    "article",
    { class: "card" },
    h("h3", {}, "Message ", tag(message.state.replace("_", " "), KINDS[message.state] ?? "")),
    h("p", { class: "explanation" }, explanation.message),
    terms([
      ["Id", h("span", { class: "code" }, message.id)],
      ["Destination", h("bdi", { class: "code" }, visible(message.destination))],
      ["Request", h("bdi", { class: "code" }, visible(`${message.method} ${message.target}`))],
      ["Accepted", at(message.accepted_at)],
      ["Attempts", count(message.attempts)],
      ["Last error", lastError(message.last_error)],
      ["Next attempt", at(message.next_attempt_at)],
      ["Waits until", at(explanation.until)],
      ["Expected", at(explanation.expected_at)],
    ]),
    h(
      "div",
      { class: "tools" },
      h("button", { type: "button", click: refresh }, "Refresh"),
      isWaiting
        ? h(
            "button",
            { type: "button", class: "danger-text", click: () => cancel(message, refresh) },
            "Cancel message",
          )
        : null,
    ),
  );
}

async function cancel(message, refresh) {
  const isDone = await ask({
    title: "Cancel this message?",
    text: [
      h("p", { class: "code" }, message.id),
      "It is never delivered from then on. This can't be taken back.",
    ],
    confirm: "Cancel the message",
    isDanger: true,
    act: async () => {
      await call(`v1/messages/${message.id}`, { method: "DELETE" });
      notify("The message is cancelled.");
    },
  });
  if (isDone) await refresh();
}

/** An instant, and how far it is from now. */
function at(text) {
  if (text === null) return null;
  return h("time", { datetime: text }, `${instant(text)} UTC (${distance(text)})`);
}
