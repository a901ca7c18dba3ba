// The headers of a request: secrets in them are masked until somebody asks for them.

import { inWords } from "./api.js";
import { h, table } from "./dom.js";
import { visible } from "./format.js";
import { button, card } from "./values.js";

/** A card with `lines`, pairs of name and value. `reveal` asks for the same without masks, and returns
 * them; `note` is what is said once they are shown. */
export function headersCard(lines, { reveal, note = "" }) {
  const list = h("div", {}, listed(lines));
  const trouble = h("p", { class: "error", role: "status" });
  const tools = h("div", { class: "tools" });
  const show = async () => {
    try {
      list.replaceChildren(listed(await reveal()));
      trouble.textContent = "";
      tools.replaceChildren(h("p", { class: "hint" }, note));
    } catch (error) {
      trouble.textContent = inWords(error);
    }
  };
  if (lines.some(([, value]) => isMasked(value))) tools.append(button("Show secrets", show));
  return card("Request headers", list, trouble, tools);
}

/** The first value of a header; "" where there is none. */
export function headerOf(lines, name) {
  return lines.find(([one]) => one.toLowerCase() === name)?.[1] ?? "";
}

function listed(lines) {
  if (lines.length === 0) return h("p", { class: "empty" }, "None.");
  const drawn = table("In the order they are sent", [
    { title: "Name", isHeader: true, isWide: true },
    { title: "Value", isWide: true },
  ]);
  const cell = (text) => h("bdi", { class: "code" }, visible(text));
  drawn.body.append(...lines.map((line) => drawn.row(line.map(cell))));
  return drawn.element;
}

/** Whether a value is shown as `***` or `Bearer ***`. */
function isMasked(value) {
  return value === "***" || value.endsWith(" ***");
}
