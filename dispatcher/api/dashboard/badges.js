// The numbers beside the names of sections: what is seen of the whole from every section.

import { h, setText } from "./dom.js";
import { compact } from "./format.js";

const BADGES = [
  { section: "overview", isBad: true, of: ({ problems }) => errorsAmong(problems), what: "errors" },
  { section: "messages", of: ({ waiting }) => waiting.count, what: "waiting" },
  { section: "dead-letters", of: ({ dead }) => dead.count, what: "kept" },
  { section: "lanes", isBad: true, of: ({ lanes }) => lanes.failing, what: "failing" },
];

/** Put badges into the links of a menu; they follow the overview. */
export function badges(menu, poll) {
  const shown = BADGES.map((badge) => makeBadge(menu, badge));
  poll.listen(({ overview }) => shown.forEach((show) => show(overview)));
}

function makeBadge(menu, { section, isBad, of, what }) {
  const number = h("span", { class: isBad ? "badge bad" : "badge" });
  const words = h("span", { class: "unseen" });
  menu.querySelector(`a[href="#/${section}"]`).append(number, words);
  return (overview) => {
    const found = overview === null ? 0 : of(overview);
    setText(number, found === 0 ? "" : compact(found));
    setText(words, found === 0 ? "" : ` ${what}`);
  };
}

function errorsAmong(problems) {
  return problems.filter(({ severity }) => severity === "error").length;
}
