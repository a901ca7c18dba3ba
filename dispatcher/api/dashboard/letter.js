// All of a dead letter: why it died, its attempts, headers and body, and what can be done about it.

import { call, inWords, readText } from "./api.js";
import { ask } from "./dialog.js";
import { bodyCard, readStart } from "./body.js";
import { h, table, terms } from "./dom.js";
import { editCard } from "./edit.js";
import { count, duration, instant, outcome, plural, reason, visible } from "./format.js";
import { headerOf, headersCard } from "./headers.js";
import { purgeOne, redriveOne } from "./moving.js";
import { notify } from "./notice.js";
import { button, card, code, linkButton, when } from "./values.js";

/** A dead letter with the beginning of its body, however large that is: for `letterParts`. */
export async function readLetter(id, signal) {
  const letter = await call(`v1/dead-letters/${id}?body=false`, { signal });
  return { letter, start: await readStart(`v1/dead-letters/${id}/body`, letter.size_bytes, signal) };
}

/** The parts of the page about a dead letter, a message or a call; `refresh` is called when it is none any more. */
export function letterParts({ letter, start }, refresh) {
  const isCall = letter.call !== null;
  const shown = { areSecretsShown: false };
  const note = "Copy as curl has them too now.";
  return [
    card(
      "Dead letter",
      // Of a bare status there is nothing more to say than stands below.
      ["", letter.last_error].includes(letter.detail) ? null : h("p", { class: "explanation" }, visible(letter.detail)),
      terms([
        ["Died", when(letter.dead_at)],
        [
          "Last error",
          `${outcome(letter.last_status, letter.last_error)}, ${reason(letter.reason, letter.kind)}`,
        ],
        ...callTerms(letter),
        ["Redriven before", letter.redrives ? plural(letter.redrives, "time") : "never"],
      ]),
      actions({ letter, start }, shown, refresh),
    ),
    card(isCall ? "Runs" : "Attempts", history(letter.history)),
    isCall ? "" : headersCard(letter.headers, { reveal: () => reveal(letter.id, shown), note }),
    bodyCard(isCall ? "Input" : "Body", {
      start,
      size: letter.size_bytes,
      path: `v1/dead-letters/${letter.id}/body`,
      name: `${letter.id}.bin`,
      contentType: headerOf(letter.headers, "content-type"),
      coding: headerOf(letter.headers, "content-encoding"),
    }),
  ];
}

/** The headers as they are; from then on a command of curl has them too. */
async function reveal(id, shown) {
  const { headers } = await call(`v1/dead-letters/${id}?body=false&reveal=true`);
  shown.areSecretsShown = true;
  return headers;
}

/** What only a call has. */
function callTerms(letter) {
  if (letter.call === null) return [];
  const { application, version, error_type: type } = letter.call;
  return [
    ["Function", code(letter.function)],
    ["Endpoint", code(letter.destination)],
    ["Error type", code(type)],
    ["Application", code(application)],
    ["Version", code(version)],
  ];
}

function actions({ letter, start }, shown, refresh) {
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
  const edit = button("Edit and redrive", () => {
    const close = () => {
      form.element.remove();
      edit.focus();
    };
    document.getElementById("edit-form")?.remove();
    const form = editCard({ letter, start }, { done: refresh, close });
    form.element.id = "edit-form";
    edit.closest("article").after(form.element);
    form.focus();
  });
  return h(
    "div",
    { class: "tools" },
    button("Redrive", redrive, { kind: "primary" }),
    ...(isCall
      ? [linkButton("Show the call", `#/calls/${letter.id}`)]
      : [edit, button("Copy as curl", () => copyAsCurl(letter.id, shown.areSecretsShown))]),
    button("Purge", purge, { kind: "danger-text" }),
  );
}

async function copyAsCurl(id, areSecretsShown) {
  try {
    const path = `v1/dead-letters/${id}/curl${areSecretsShown ? "?reveal=true" : ""}`;
    const text = await readText(path);
    const isMasked = text.startsWith("# Secrets are masked");
    const copied = `The command is copied${isMasked ? ", with secrets masked" : ""}.`;
    if (!(await isCopied(text))) await offer(text, copied);
    else notify(copied);
  } catch (error) {
    notify(inWords(error), "bad");
  }
}

/** Browsers let a page write to the clipboard where it came over TLS or from this machine. */
async function isCopied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** Show a text to copy by hand, or with a press of a button. */
function offer(text, done) {
  const area = h("textarea", { readonly: true, rows: 10, class: "code", "aria-label": "Command" });
  area.value = text;
  return ask({
    title: "Copy as curl",
    text: [area],
    confirm: "Copy",
    dismiss: "Close",
    act: async () => {
      area.select();
      document.execCommand("copy");
      notify(done);
    },
  });
}

function history(attempts) {
  if (attempts.length === 0) return h("p", { class: "empty" }, "None is known.");
  const drawn = table("The first one first", [
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
