// The section of function calls: a list with filters, and one call. Both follow what happens.

import { call, inWords, isOurs } from "./api.js";
import { callParts, readCall } from "./call.js";
import { byId, h, setText, swap, table, tag } from "./dom.js";
import { FilterForm } from "./filter.js";
import { CALL_KINDS, count, instant, lastError, visible } from "./format.js";
import { pages } from "./paging.js";

const PAGE = 50;
const ID = /^[0-9a-f]{28}$/;
const STATES = [
  "ready",
  "scheduled",
  "running",
  "suspended",
  "outside",
  "succeeded",
  "failed",
  "expired",
  "cancelled",
];
const FIELDS = [
  { name: "state", label: "State", choices: [["", "all states"], ...STATES.map((one) => [one, one])] },
  { name: "function", label: "Function", isCode: true },
  { name: "endpoint", label: "Endpoint", isCode: true, isWide: true },
  { name: "roots", label: "Roots only", isCheck: true },
];
const FILTERS = FIELDS.map(({ name }) => name);

/** Show what the address says: a list with filters, or the call with an id. */
export function calls(poll) {
  const view = new Calls();
  poll.listen(({ overview }) => overview && view.follow());
  return { show: (address) => view.show(address) };
}

class Calls {
  constructor() {
    this.shown = null; // the address that is shown, and what was read last
    this.form = new FilterForm("calls", FIELDS, () => this.load({ isAsked: true }));
    byId("call-filter").append(this.form.element);
  }

  async show({ rest, query, signal }) {
    const result = byId("calls-result");
    setText(byId("calls-status"), "");
    result.replaceChildren(h("p", { class: "hint" }, "Asking…"));
    this.form.element.hidden = rest !== "";
    this.form.show(query);
    this.shown = { id: rest, query, signal, isBusy: false, last: "", known: null };
    if (rest !== "" && !ID.test(rest)) {
      result.replaceChildren(allCalls());
      setText(byId("calls-status"), "An id of a call is 28 digits, 0 to 9 and a to f.");
      return;
    }
    await this.load({ isAsked: true });
  }

  /** Look again, if that can show something new: pages behind the first one stand still. */
  follow() {
    if (this.shown === null || this.shown.signal.aborted || this.shown.isBusy) return;
    const { id, query, known } = this.shown;
    if (id === "" ? query.has("cursor") : known === null || known.call.ended_at !== null) return;
    this.load({ isAsked: false });
  }

  /** Read and draw; `isAsked`: somebody wants it, it is not only the time for it. */
  async load({ isAsked }) {
    const shown = this.shown;
    shown.isBusy = true;
    try {
      const { signal, known } = shown;
      shown.known = await (shown.id === ""
        ? call(`v1/calls?${listQuery(shown.query)}`, { signal })
        : readCall(shown.id, signal, isAsked ? null : known));
      if (shown === this.shown) this.draw(isAsked);
    } catch (error) {
      if (isOurs(error, shown.signal) || shown !== this.shown) return;
      setText(byId("calls-status"), inWords(error));
      if (shown.known === null) swap(byId("calls-result"), shown.id === "" ? [] : [allCalls()]);
    } finally {
      shown.isBusy = false;
    }
  }

  draw(isAsked) {
    const { id, query, known } = this.shown;
    const result = byId("calls-result");
    const text = JSON.stringify(known);
    setText(byId("calls-status"), "");
    // A link must not move away below the pointer or the focus.
    const isHeld = !isAsked && id === "" && result.matches(":hover, :focus-within");
    if (isHeld) updateRows(result, known.items);
    else if (isAsked || text !== this.shown.last) {
      const refresh = () => this.load({ isAsked: true });
      swap(result, id === "" ? listParts(known, query) : callParts(known, refresh));
      this.shown.last = text;
    }
  }
}

/** Where all calls are. */
function allCalls() {
  return h("p", { class: "lead" }, h("a", { href: "#/calls" }, "All calls"));
}

function listQuery(query) {
  const asked = new URLSearchParams({ limit: String(PAGE) });
  for (const name of [...FILTERS, "cursor"]) if (query.has(name)) asked.set(name, query.get(name));
  return asked;
}

function listParts({ items, next }, query) {
  const isFiltered = FILTERS.some((name) => query.has(name));
  const drawn = table(isFiltered ? "These calls, the newest first" : "Calls, the newest first", [
    { title: "Id", isHeader: true, isWide: true, isTight: true },
    { title: "State" },
    { title: "Function", isWide: true },
    { title: "Endpoint", isWide: true, isBroad: true },
    { title: "Created (UTC)", isTight: true },
    { title: "Failures" },
  ]);
  drawn.body.append(...items.map((one) => callRow(drawn, one)));
  const none = isFiltered ? "There are no such calls." : "There are no function calls.";
  return [
    items.length ? drawn.element : h("p", { class: "empty" }, none),
    pages("calls", query, next),
  ];
}

function callRow(drawn, one) {
  const row = drawn.row([
    h("a", { href: `#/calls/${one.id}`, class: "code" }, one.id),
    stateOf(one),
    h("bdi", { class: "code" }, visible(one.function)),
    h("bdi", { class: "code" }, visible(one.endpoint)),
    instant(one.created_at),
    failures(one),
  ]);
  row.dataset.id = one.id;
  return row;
}

/** How many runs failed in a row, and the last one's failure, or why the call did not end well. */
function failures({ attempts, last_error: error }) {
  const told = attempts === 0 ? [] : [count(attempts)];
  if (error !== null) told.push(lastError(error));
  return told.join(", ");
}

/** What calls that are shown do now; which are shown stays as it is. */
function updateRows(result, items) {
  const known = new Map(items.map((one) => [one.id, one]));
  for (const row of result.querySelectorAll("tr[data-id]")) {
    const one = known.get(row.dataset.id);
    const state = row.querySelector(".tag");
    if (one !== undefined && state.textContent !== one.state) state.replaceWith(stateOf(one));
  }
}

function stateOf(one) {
  const name = tag(one.state, CALL_KINDS[one.state] ?? "");
  if (one.next_run_at !== null) name.title = `until ${instant(one.next_run_at)} UTC`;
  return name;
}
