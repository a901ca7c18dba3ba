// How single values are shown wherever they stand: instants, names of strangers, links, buttons.

import { h } from "./dom.js";
import { distance, instant, visible } from "./format.js";

/** An instant of the API, and how far it is from now; null where there is none. */
export function when(text) {
  if (text === null || text === undefined) return null;
  return h("time", { datetime: text }, `${instant(text)} UTC (${distance(text)})`);
}

/** How far an instant is from now, for tables; when it was is the hint. */
export function ago(text) {
  if (text === null || text === undefined) return "–";
  return h("time", { datetime: text, title: `${instant(text)} UTC` }, distance(text));
}

/** A stranger's text, or an id, as it is written; null where it is empty. */
export function code(text) {
  if (text === null || text === undefined || text === "") return null;
  return h("bdi", { class: "code" }, visible(text));
}

/** An address of the page, `#/section?name=value`; what has no value is left out. */
export function addressOf(section, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  return `#/${section}${query.size ? `?${query}` : ""}`;
}

/** A button; `label` is what it is called where its text alone does not say of what it is. */
export function button(text, act, { kind = "", label = null } = {}) {
  return h("button", { type: "button", class: kind, click: act, "aria-label": label }, text);
}

/** A link that looks like a button. */
export function linkButton(text, href, { kind = "", label = null } = {}) {
  return h("a", { class: `button ${kind}`, href, "aria-label": label }, text);
}

/** A part of a page with a title. */
export function card(title, ...parts) {
  return h("article", { class: "card" }, h("h3", {}, title), ...parts);
}
