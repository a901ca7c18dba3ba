// The beginning of a body, as text if it is some, else as hexadecimal digits, and all of it to save.

import { hasKey, here, inWords, readBytes } from "./api.js";
import { h } from "./dom.js";
import { bytes, visible } from "./format.js";
import { notify } from "./notice.js";
import { button, card, linkButton } from "./values.js";

/** So much of a body is asked for: a browser that shows more gets slow, and nobody reads it. */
export const SHOWN_BYTES = 64 * 1024;
const MOST_HEX = 4 * 1024;
const HEX_WIDTH = 16;
// What is text has none of these: controls other than tab and line ends.
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/;
const MARKS = [
  [[0xef, 0xbb, 0xbf], "utf-8"],
  [[0xff, 0xfe], "utf-16le"],
  [[0xfe, 0xff], "utf-16be"],
];

/** The first bytes of what is at `path`, of `size` bytes. */
export async function readStart(path, size, signal) {
  return size === 0 ? new Uint8Array() : readBytes(`${path}?limit=${SHOWN_BYTES}`, { signal });
}

/** A card with a body of `size` bytes that begins with `start`; all of it is at `path`, and saved as
 * `name`. `contentType` is what its sender calls it, `coding` how it was packed. */
export function bodyCard(title, { start, size, path, name, contentType = "", coding = "" }) {
  const shown = h("div", { class: "stack" });
  const text = decoded(start, { contentType, isWhole: start.length === size });
  const show = (asText) => shown.replaceChildren(...parts(start, { size, text: asText, coding }));
  show(text);
  return card(
    `${title}, ${bytes(size)}`,
    shown,
    size === 0
      ? ""
      : h("div", { class: "tools" }, download(path, name), text === null ? null : toggle(show, text)),
  );
}

/** A body that is there as a whole. */
export function bodyParts(body) {
  const text = decoded(body, { contentType: "", isWhole: true });
  return parts(body, { size: body.length, text, coding: "" });
}

/** A body as a text that a person may change: `{shown, encode}`; null where a field of a browser would
 * change more than they did: it is not in UTF-8, has controls, or line ends of both kinds. */
export function asEditable(body) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return null;
  }
  const shown = text.replaceAll("\r\n", "\n");
  const end = shown === text ? "\n" : "\r\n";
  if (CONTROLS.test(text) || shown.replaceAll("\n", end) !== text) return null;
  return { shown, encode: (changed) => new TextEncoder().encode(changed.replaceAll("\n", end)) };
}

export function fromBase64(text) {
  const characters = atob(text);
  const found = new Uint8Array(characters.length);
  for (let at = 0; at < characters.length; at += 1) found[at] = characters.charCodeAt(at);
  return found;
}

function parts(start, { size, text, coding }) {
  if (size === 0) return [h("p", { class: "empty" }, "Empty.")];
  const most = text === null ? MOST_HEX : SHOWN_BYTES;
  const part = start.subarray(0, most);
  const label = text === null ? "Body as hexadecimal digits" : "Body as text";
  const content =
    text === null ? hexDump(part) : visible(text.text.slice(0, most).replaceAll("\r\n", "\n"));
  const packed = coding === "" ? "Not text" : `Packed (${visible(coding)})`;
  return [
    h(
      "p",
      { class: "hint" },
      text === null
        ? `${packed}: hexadecimal digits, and the characters among them.`
        : `Text in ${text.charset.toUpperCase()}.`,
    ),
    h("pre", { tabindex: "0", role: "region", "aria-label": label }, content),
    size > part.length
      ? h("p", { class: "hint" }, `The first ${bytes(part.length)} are shown; download the rest.`)
      : "",
  ];
}

function toggle(show, text) {
  let isText = true;
  const element = button("Show bytes", () => {
    isText = !isText;
    show(isText ? text : null);
    element.textContent = isText ? "Show bytes" : "Show text";
  });
  return element;
}

// Never under the type it claims to be: a browser must not show a stranger's page as ours. Where no
// key has to be shown the browser saves it by itself, which takes no memory.
function download(path, name) {
  const text = "Download body";
  if (!hasKey()) {
    const link = linkButton(text, here(path));
    link.setAttribute("download", name);
    return link;
  }
  return button(text, async () => {
    try {
      save(await readBytes(path, { timeoutMs: 0 }), name);
    } catch (error) {
      notify(inWords(error), "bad");
    }
  });
}

function save(body, name) {
  const url = URL.createObjectURL(new Blob([body], { type: "application/octet-stream" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The text that bytes are, and in which charset: `{text, charset}`; null where they are none. */
function decoded(body, { contentType, isWhole }) {
  for (const charset of charsets(body, contentType)) {
    try {
      // A character that is cut in two at the end of a part is none that is wrong.
      const text = new TextDecoder(charset, { fatal: true }).decode(body, { stream: !isWhole });
      if (!CONTROLS.test(text)) return { text, charset };
    } catch {
      // It is another one, or none.
    }
  }
  return null;
}

function charsets(body, contentType) {
  const mark = MARKS.find(([first]) => first.every((byte, at) => body[at] === byte));
  const named = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(contentType);
  return [mark?.[1], named?.[1], "utf-8"].filter((one) => one !== undefined);
}

function hexDump(body) {
  const lines = [];
  for (let at = 0; at < body.length; at += HEX_WIDTH) {
    const part = [...body.subarray(at, at + HEX_WIDTH)];
    const digits = part.map((one) => one.toString(16).padStart(2, "0")).join(" ");
    const characters = part
      .map((one) => (one >= 32 && one < 127 ? String.fromCharCode(one) : "."))
      .join("");
    const address = at.toString(16).padStart(6, "0");
    lines.push(`${address}  ${digits.padEnd(HEX_WIDTH * 3 - 1)}  ${characters}`);
  }
  return lines.join("\n");
}
