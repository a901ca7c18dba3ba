// The section of messages that wait: a list with a filter, and one message by its id.

import { call, inWords, isOurs } from "./api.js";
import { byId, h, setText, swap, table, tag } from "./dom.js";
import { FilterForm } from "./filter.js";
import { clock, count, lastError, visible } from "./format.js";
import { ID, readMessage, stateTag } from "./message.js";
import { pages } from "./paging.js";
import { Selection } from "./selection.js";
import { ago, button, code } from "./values.js";
import { actOnMany } from "./waiting.js";

const PAGE = 50;
const STATES = ["ready", "scheduled", "in_flight", "held"];
const FIELDS = [
  { name: "destination", label: "Destination", isCode: true, isWide: true },
  {
    name: "state",
    label: "State",
    choices: [["", "all states"], ...STATES.map((one) => [one, one.replace("_", " ")])],
  },
  { name: "label", label: "Label", isCode: true },
  { name: "order_key", label: "Order key", isCode: true },
  { name: "method", label: "Method", isCode: true, isShort: true },
  { name: "target", label: "Path begins with", isCode: true },
  { name: "older_than", label: "Older than (5m, 2h)", isCode: true },
];
const ACTIONS = [
  ["Retry now", "retry"],
  ["Redirect", "redirect"],
  ["Give up", "dead-letter"],
  ["Cancel", "cancel", "danger-text"],
];

/** Show what the address says: a list with a filter, or the message with an id. */
export function messages() {
  const view = new Messages();
  return { show: (address) => view.show(address) };
}

class Messages {
  constructor() {
    this.shown = null; // the address that is shown
    this.form = new FilterForm("messages", FIELDS, () => this.load());
    this.selection = new Selection(
      "message",
      ACTIONS.map(([text, name, kind]) => [text, (chosen) => this.act(name, chosen), kind]),
    );
    byId("message-filter").append(this.form.element);
    byId("search-form").addEventListener("submit", (event) => this.search(event));
  }

  async show({ rest, query, signal }) {
    this.form.show(query);
    const filter = String(this.form.query());
    this.selection.turn({ isSameFilter: this.shown?.filter === filter });
    this.shown = { id: rest, query, signal, filter };
    byId("message-filter").hidden = rest !== "";
    if (rest !== "") byId("message-id").value = rest;
    await this.load();
  }

  search(event) {
    event.preventDefault();
    const id = byId("message-id").value.trim().toLowerCase();
    const address = `#/messages${id && `/${encodeURIComponent(id)}`}`;
    if (location.hash === address) this.load();
    else location.hash = address;
  }

  async load() {
    const { shown } = this;
    const result = byId("search-result");
    const address = `${shown.id}?${shown.query}`;
    // What can be pressed is always of the address that is shown.
    if (result.dataset.address !== address) result.replaceChildren(hint("Asking…"));
    result.dataset.address = address;
    result.setAttribute("aria-busy", "true");
    setText(byId("search-status"), "");
    try {
      const parts = shown.id === "" ? await this.list(shown) : await this.one(shown);
      if (shown === this.shown) swap(result, parts);
      this.selection.show();
    } catch (error) {
      if (isOurs(error, shown.signal) || shown !== this.shown) return;
      swap(result, shown.id === "" ? [] : [allMessages()]);
      setText(byId("search-status"), inWords(error));
    } finally {
      if (shown === this.shown) result.removeAttribute("aria-busy");
    }
  }

  async one({ id, signal }) {
    if (!ID.test(id)) {
      const text = "An id is 28 digits, 0 to 9 and a to f. Copy it from X-Dispatcher-Message-Id.";
      setText(byId("search-status"), text);
      return [allMessages()];
    }
    return [allMessages(), ...(await readMessage(id, signal, () => this.load()))];
  }

  async list({ query, signal }) {
    const asked = new URLSearchParams({ ...Object.fromEntries(query), limit: String(PAGE) });
    const { items, next } = await call(`v1/messages?${asked}`, { signal });
    this.selection.turn({ isSameFilter: true });
    const drawn = this.table(items);
    return [
      h("div", { class: "tools middle" }, button("Refresh", () => this.load(), { kind: "small" }), asOf(items, next)),
      ...(items.length ? [this.selection.element, drawn.element] : [this.none(next)]),
      pages("messages", query, next),
    ];
  }

  table(items) {
    const drawn = table("Messages that wait, the oldest first", [
      { title: this.selection.head, label: "", isPick: true },
      { title: "Id", isHeader: true, isWide: true, isTight: true },
      { title: "State", isTight: true },
      { title: "Destination", isWide: true },
      { title: "Request", isWide: true },
      { title: "Accepted", isTight: true },
      { title: "Attempts", isNumber: true },
      { title: "Last error" },
    ]);
    drawn.body.append(...items.map((one) => drawn.row(this.cells(one))));
    return drawn;
  }

  cells(one) {
    return [
      this.selection.box(one.id),
      h("a", { href: `#/messages/${one.id}`, class: "code" }, one.id),
      h("span", { class: "two-lines" }, stateTag(one), next(one)),
      code(one.destination),
      h(
        "span",
        {},
        code(`${one.method} ${one.target}`),
        one.label && " ",
        one.label && tag(visible(one.label)),
      ),
      ago(one.accepted_at),
      count(one.attempts),
      lastError(one.last_error ?? one.destination_error) ?? "",
    ];
  }

  none(next) {
    if (next !== null) {
      return empty("None of those that were looked at matches. Go on with the next page.");
    }
    return empty(this.shown.filter === "" ? "No message waits." : "No such message waits.");
  }

  async act(name, { ids }) {
    const which = ids === null ? selectionOf(this.shown.query) : { ids };
    const where = ids === null ? this.inWords() : "Those that were chosen.";
    if (await actOnMany(name, which, where)) {
      this.selection.clear();
      await this.load();
    }
  }

  /** Which messages the filter means. */
  inWords() {
    const said = FIELDS.filter(({ name }) => this.shown.query.has(name)).map(
      ({ name, label }) => `${label.toLowerCase()}: ${visible(this.shown.query.get(name))}`,
    );
    return said.length ? `All that wait with ${said.join("; ")}.` : "All messages that wait.";
  }
}

/** All that the filter means, as the API selects: by destination, or of all. */
function selectionOf(query) {
  const which = {};
  for (const { name } of FIELDS) if (query.has(name)) which[name] = query.get(name);
  return "destination" in which ? which : { ...which, all: true };
}

/** When it is tried next at the earliest; nobody knows that of one that is held. */
function next({ reason, next_attempt_at: due, until }) {
  const at = reason === "destination_held" ? null : (due ?? until);
  return at === null ? null : h("small", {}, ago(at));
}

/** When this was so: the list does not follow what happens, so that what is chosen stays there. */
function asOf(items, next) {
  const number = next === null && items.length < PAGE ? "" : ` ${count(items.length)} on this page.`;
  return hint(`As of ${clock(Date.now())} UTC.${number}`);
}

function allMessages() {
  return h("p", { class: "lead" }, h("a", { href: "#/messages" }, "All messages that wait"));
}

function hint(text) {
  return h("p", { class: "hint" }, text);
}

function empty(text) {
  return h("p", { class: "empty" }, text);
}
