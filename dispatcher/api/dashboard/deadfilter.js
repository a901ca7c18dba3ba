// The form that narrows the dead letters. What is asked for often is in sight, the rest is folded.

import { h } from "./dom.js";
import { FilterForm } from "./filter.js";
import { outcome, reason, visible } from "./format.js";

export const SECTION = "dead-letters";
const LIST = `${SECTION}/list`;
const REASONS = ["retries_exhausted", "rejected", "egress_denied", "expired", "operator", "failed"];
const FIELDS = [
  { name: "destination", label: "Destination", isCode: true, isWide: true },
  { name: "error", label: "Last error", isCode: true },
  {
    name: "reason",
    label: "Reason",
    choices: [["", "any reason"], ...REASONS.map((one) => [one, reason(one)])],
  },
  { name: "label", label: "Label", isCode: true },
];
const MORE = [
  { name: "order_key", label: "Order key", isCode: true },
  { name: "method", label: "Method", isCode: true },
  { name: "target", label: "Path begins with", isCode: true },
  { name: "status", label: "Last status", type: "number" },
  {
    name: "kind",
    label: "Kind",
    choices: [["", "both"], ["message", "messages"], ["call", "calls"]],
  },
  { name: "function", label: "Function", isCode: true },
  { name: "after", label: "Died after (UTC)", type: "datetime-local" },
  { name: "before", label: "Died before (UTC)", type: "datetime-local" },
];
const EXAMPLES = {
  error: "http_404",
  method: "POST",
  target: "/hooks/",
};
const INSTANTS = ["after", "before"];
/** What the API can select by. */
export const FILTERS = [...FIELDS, ...MORE].map(({ name }) => name);
/** What is read from the letters themselves: groups know nothing of it. */
const OF_LETTERS = ["order_key", "method", "target"];

/** Whether groups can't be told of these. */
export function needsLetters(filter) {
  return OF_LETTERS.some((name) => filter[name] !== undefined);
}

/** The filter that an address has. */
export function filterOf(query) {
  return Object.fromEntries(
    FILTERS.filter((name) => query.has(name)).map((name) => [name, query.get(name)]),
  );
}

/** A filter in words, for a sentence. */
export function inWordsOf(filter) {
  const status = filter.status ?? null;
  const parts = [
    filter.destination === undefined
      ? "Dead letters of every destination"
      : `Dead letters to ${visible(filter.destination)}`,
    filter.kind === undefined ? "" : { message: "messages", call: "calls" }[filter.kind],
    filter.function === undefined ? "" : `function ${visible(filter.function)}`,
    status === null && filter.error === undefined ? "" : outcome(status, filter.error ?? null),
    filter.reason === undefined ? "" : reason(filter.reason, filter.kind),
    ...["label", "order_key", "method"]
      .filter((name) => filter[name] !== undefined)
      .map((name) => `${name.replace("_", " ")} ${visible(filter[name])}`),
    filter.target === undefined ? "" : `path begins with ${visible(filter.target)}`,
    ...INSTANTS.filter((name) => filter[name] !== undefined).map(
      (name) => `died ${name} ${visible(filter[name])}`,
    ),
  ];
  return `${parts.filter((part) => part !== "").join(", ")}.`;
}

export class DeadFilter extends FilterForm {
  constructor(again) {
    super(SECTION, [...FIELDS, ...MORE], again);
    this.isList = false;
    const folded = MORE.map(({ name }) => this.inputs.get(name).closest(".field"));
    this.more = h(
      "details",
      { class: "more" },
      h("summary", {}, "More filters"),
      h("div", { class: "fields" }, ...folded),
    );
    this.element.querySelector(".field-buttons").before(this.more);
    const status = this.inputs.get("status");
    [status.min, status.max] = [100, 599];
    for (const [name, example] of Object.entries(EXAMPLES)) {
      this.inputs.get(name).placeholder = example;
    }
  }

  /** Show what the address asks for, of groups or of a list. */
  showOf(query, isList) {
    this.isList = isList;
    this.show(query);
    this.clear.href = `#/${isList ? LIST : SECTION}`;
    if (MORE.some(({ name }) => query.has(name))) this.more.open = true;
  }

  go() {
    const isList = this.isList || needsLetters(Object.fromEntries(this.query()));
    this.section = isList ? LIST : SECTION;
    super.go();
  }
}
