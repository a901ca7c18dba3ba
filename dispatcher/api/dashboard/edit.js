// A dead letter, changed as it is redriven: destination, headers, body. Only what was changed is
// sent; secrets that are left as they are shown (`***`) stay what they were.

import { call, inWords } from "./api.js";
import { asEditable } from "./body.js";
import { h } from "./dom.js";
import { bytes } from "./format.js";
import { notify } from "./notice.js";
import { button, card } from "./values.js";

const PORTION = 0x8000;

/** The form; `start` is the beginning of the body. `done` is called when it is redriven, `close` when it is left. */
export function editCard({ letter, start }, { done, close }) {
  const text = start.length === letter.size_bytes ? asEditable(start) : null;
  const destination = field("edit-destination", "Destination", {
    value: letter.destination,
    hint: "Its path stays. Host is made to fit.",
  });
  const before = letter.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  const headers = area("edit-headers", "Headers, one a line", before, {
    hint: "*** keeps the secret that is stored. Content-Length is made to fit.",
  });
  const body = text === null ? null : area("edit-body", "Body", text.shown, {});
  const file = h("input", { id: "edit-file", type: "file" });
  const trouble = h("p", { class: "error", role: "status" });

  async function changes() {
    const found = {};
    const to = destination.input.value.trim();
    if (to !== letter.destination) found.destination = to;
    if (headers.input.value !== before) found.headers = lines(headers.input.value);
    if (file.files.length > 0) found.body = base64(new Uint8Array(await file.files[0].arrayBuffer()));
    else if (body !== null && body.input.value !== text.shown)
      found.body = base64(text.encode(body.input.value));
    return found;
  }

  async function send(event) {
    event.preventDefault();
    trouble.textContent = "";
    submit.disabled = true;
    try {
      const path = `v1/dead-letters/${letter.id}/redrive`;
      await call(path, { method: "POST", body: await changes(), timeoutMs: 0 });
      notify("1 dead letter redriven: ready again, attempts from 1.");
      await done();
    } catch (error) {
      trouble.textContent = error instanceof BadHeader ? error.message : inWords(error);
    } finally {
      submit.disabled = false;
    }
  }

  const submit = h("button", { type: "submit", class: "primary" }, "Redrive with these changes");
  const fileHint =
    text === null
      ? `Its ${bytes(letter.size_bytes)} stay as they are, unless there is a file.`
      : "In place of the text above.";
  const form = h(
    "form",
    { class: "stack", autocomplete: "off", submit: send },
    destination.element,
    headers.element,
    body?.element,
    h(
      "div",
      { class: "field" },
      h("label", { for: "edit-file" }, "Body from a file"),
      file,
      h("small", {}, fileHint),
    ),
    trouble,
    h(
      "div",
      { class: "tools" },
      submit,
      button("Cancel", close),
    ),
  );
  return { element: card("Edit and redrive", form), focus: () => destination.input.focus() };
}

class BadHeader extends Error {}

/** Names and values of what stands in the lines. */
function lines(text) {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const at = line.indexOf(":");
      if (at < 1) throw new BadHeader(`“${line}” is no header: expected a name, a colon and a value.`);
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    });
}

function field(id, label, { value, hint }) {
  const input = h("input", { id, class: "code", spellcheck: "false", autocapitalize: "off" });
  input.value = value;
  return { input, element: labelled(id, label, input, hint) };
}

function area(id, label, value, { hint }) {
  const rows = Math.min(16, Math.max(4, value.split("\n").length + 1));
  const input = h("textarea", { id, class: "code", rows, spellcheck: "false" });
  input.value = value;
  return { input, element: labelled(id, label, input, hint) };
}

function labelled(id, label, input, hint) {
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    hint === undefined ? null : h("small", {}, hint),
  );
}

function base64(body) {
  const parts = [];
  for (let at = 0; at < body.length; at += PORTION) {
    parts.push(String.fromCharCode(...body.subarray(at, at + PORTION)));
  }
  return btoa(parts.join(""));
}
