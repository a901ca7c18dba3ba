// What is wrong now, as the overview says it: a sentence each, and where one acts.

import { h } from "./dom.js";
import { visible } from "./format.js";
import { addressOf } from "./values.js";

/** What a click leads to, by the slug of a problem: `[words, address]`. */
const LEADS = {
  destination_failing: ({ destination }) => ["Look at the destination", laneOf(destination)],
  destinations_failing: () => ["Look at the destinations", addressOf("lanes", { state: "failing" })],
  destination_held: ({ destination }) => ["Look at the destination", laneOf(destination)],
  destinations_held: () => ["Look at the destinations", addressOf("lanes", { state: "held" })],
  messages_waiting_long: ({ destination }) => [
    "Look at the messages",
    addressOf("messages", { destination }),
  ],
  dead_letters: () => ["Look at the dead letters", "#/dead-letters"],
  letters_dropping: () => ["Look at the dead letters", "#/dead-letters"],
  audit_unkept: () => ["Look at the audit", "#/audit"],
};

/** A list of problems, the worst first; or one line that says that there is none. */
export function problemList(problems) {
  if (problems.length === 0) {
    return h("p", { class: "problem good" }, "Nothing is wrong.");
  }
  const worstFirst = problems.toSorted((one, other) => isWarning(one) - isWarning(other));
  return h("ul", {}, ...worstFirst.map(problemLine));
}

function isWarning({ severity }) {
  return severity === "error" ? 0 : 1;
}

function problemLine(problem) {
  const [words, address] = LEADS[problem.slug]?.(problem) ?? [null, null];
  const word = isWarning(problem) ? "Warning" : "Error";
  // The sentence says how long it lasts, and so changes: no name for what may have the focus.
  const label = problem.destination ? `${words}: ${visible(problem.destination)}` : null;
  return h(
    "li",
    { class: `problem ${isWarning(problem) ? "warn" : "bad"}` },
    h("span", { class: "problem-kind" }, word),
    h("bdi", {}, visible(problem.message)),
    address === null ? null : h("a", { href: address, "aria-label": label }, words),
  );
}

function laneOf(destination) {
  return addressOf("lanes", { destination });
}
