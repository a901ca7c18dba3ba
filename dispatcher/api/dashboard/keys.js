// Keys that lead to sections and into filters, with a list of them on "?".
//
// Single characters get in the way of speech input and of those who press by mistake: they can be
// turned off, which the browser remembers (WCAG 2.1.4).

import { ask } from "./dialog.js";
import { h } from "./dom.js";

const OFF = "dispatcher-keys-off";
const AFTER_G_MS = 1500;
const SECTIONS = {
  o: ["overview", "Overview"],
  m: ["messages", "Messages"],
  d: ["dead-letters", "Dead letters"],
  l: ["lanes", "Destinations"],
  e: ["events", "Live events"],
  c: ["calls", "Calls"],
  s: ["schedules", "Schedules"],
  j: ["jobs", "Jobs"],
  a: ["audit", "Audit"],
};

/** Listen to keys; `isOpen` says whether there are sections to go to. */
export function keys(isOpen) {
  let since = -Infinity; // when "g" was pressed
  document.addEventListener("keydown", (event) => {
    if (!isOpen() || isForSomethingElse(event)) return;
    const section = event.timeStamp - since < AFTER_G_MS ? SECTIONS[event.key] : undefined;
    since = event.key === "g" ? event.timeStamp : -Infinity;
    if (event.key === "?") showKeys();
    else if (localStorage.getItem(OFF) !== null) return;
    else if (section) location.hash = `#/${section[0]}`;
    else if (event.key === "/") focusFilter();
    else return;
    event.preventDefault();
  });
}

function isForSomethingElse(event) {
  const { target } = event;
  const isTyping = target.closest("input:not([type=checkbox]), select, textarea, dialog, pre");
  return event.ctrlKey || event.metaKey || event.altKey || isTyping !== null;
}

/** The first field of the section's filter; a phone has it behind a button. */
function focusFilter() {
  const field = document.querySelector(".view:not([hidden]) :is(.filter, .title-line) input");
  field?.closest(".filter")?.toggleAttribute("data-open", true);
  field?.focus();
}

function showKeys() {
  const isOff = localStorage.getItem(OFF) !== null;
  const line = (key, text) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, text));
  ask({
    title: "Keys",
    text: [
      h(
        "dl",
        { class: "keys" },
        line("/", "the filter of a list"),
        ...Object.entries(SECTIONS).map(([key, [, name]]) => line(`g ${key}`, name)),
        line("?", "this list"),
      ),
      isOff ? "All but ? are turned off." : "",
    ],
    confirm: isOff ? "Turn them on" : "Turn them off",
    dismiss: "Close",
    act: async () => {
      if (isOff) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, "");
    },
  });
}
