// One line at the foot of the page about what was done: polite, and there until it is closed, the
// next one comes or another section is shown.

import { byId, h } from "./dom.js";

export function notify(text, kind = "good") {
  const close = h("button", { type: "button", class: "small quiet", click: clearNotice }, "Close");
  byId("notice").dataset.kind = kind;
  byId("notice").replaceChildren(h("p", {}, text), close);
}

export function clearNotice() {
  byId("notice").replaceChildren();
}
