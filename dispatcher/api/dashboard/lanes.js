// The section of lanes: what the server finds for a filter, in a table that is kept up to date in
// place, so that focus stays where it is.

import { call, inWords, isOurs } from "./api.js";
import { Asking } from "./asking.js";
import { byId, h, setText, table } from "./dom.js";
import { FilterForm } from "./filter.js";
import { count, plural } from "./format.js";
import { laneRow, nameOf, stateOf, waitingOf } from "./lane.js";
import { pages } from "./paging.js";
import { addressOf } from "./values.js";

const MOST_ROWS = 200;
const FIELDS = [
  { name: "destination", label: "Destination contains", isCode: true, isWide: true },
  {
    name: "state",
    label: "State",
    choices: [
      ["", "all states"],
      ["failing", "failing"],
      ["held", "held"],
    ],
  },
  {
    name: "kind",
    label: "Kind",
    choices: [
      ["", "both kinds"],
      ["message", "messages"],
      ["call", "calls"],
    ],
  },
];
/** By what lanes are sorted before anybody asks: trouble first, and then those with most to do. */
const TROUBLE = ["bad", "warn", "good", ""];
const COLUMNS = [
  { title: "Destination", key: (lane) => lane.destination, isText: true, isHeader: true, isWide: true, isBroad: true },
  { title: "State", key: (lane) => stateOf(lane).word, isText: true, isTight: true },
  { title: "Waiting", key: waitingOf, isNumber: true },
  { title: "In flight", key: (lane) => lane.in_flight, isNumber: true },
  { title: "Delivered", key: (lane) => lane.delivered_per_s ?? -1, isNumber: true },
  { title: "Attempt p50 / p95", key: (lane) => lane.attempt_p95_ms ?? -1, isNumber: true },
  { title: "Oldest", key: (lane) => -Date.parse(lane.oldest_at ?? "9999"), isTight: true },
  { title: "Last error", key: (lane) => Date.parse(lane.last_error_at ?? "1970"), isTight: true },
];

/** Show the lanes that the address asks for, and keep them up to date while they are shown. */
export function lanes(poll) {
  const view = new Lanes();
  poll.listen(({ overview }) => overview && view.follow());
  return { show: (address) => view.show(address) };
}

class Lanes {
  constructor() {
    this.asked = null; // what the address asks for: `{query, signal}`
    this.asking = new Asking();
    this.lanes = [];
    this.rows = new Map(); // by kind and destination
    this.sort = { column: null, isUp: false }; // no column: as `byTrouble` has it
    this.drawn = this.makeTable();
    this.form = new FilterForm("lanes", FIELDS, () => this.load());
    byId("lane-filter").append(this.form.element);
    byId("lane-table").append(this.drawn.element);
    this.fillSelect();
    this.markSort();
  }

  async show({ query, signal }) {
    this.asked = { query, signal };
    this.form.show(query);
    await this.load({ isAsked: true });
  }

  follow() {
    if (this.asked !== null && !this.asked.signal.aborted && !this.asking.isOpen) this.load();
  }

  load({ isAsked = false } = {}) {
    const { query, signal } = this.asked;
    return this.asking.ask(
      () => call(`v1/stats?${laneQuery(query)}`, { signal }),
      (found) => {
        setText(byId("lane-status"), "");
        this.lanes = found.lanes;
        this.draw({ isAsked });
        this.say(found);
      },
      (error) => isOurs(error, signal) || setText(byId("lane-status"), inWords(error)),
    );
  }

  makeTable() {
    const heads = COLUMNS.map((column) => ({
      ...column,
      label: column.title,
      title: h(
        "button",
        { type: "button", class: "sort", click: () => this.sortBy(column) },
        column.title,
      ),
    }));
    const actions = { title: h("span", { class: "unseen" }, "Action"), label: "", isActions: true };
    return table("Destinations, those with trouble first unless another order is asked for", [
      ...heads,
      actions,
    ]);
  }

  sortBy(column) {
    const isSame = this.sort.column === column;
    this.sort = { column, isUp: isSame ? !this.sort.isUp : Boolean(column?.isText) };
    this.markSort();
    this.draw({ isAsked: true });
  }

  markSort() {
    COLUMNS.forEach((column, at) => {
      const isSorted = column === this.sort.column;
      const word = this.sort.isUp ? "ascending" : "descending";
      this.drawn.heads[at].setAttribute("aria-sort", isSorted ? word : "none");
    });
    byId("lane-sort").value = String(COLUMNS.indexOf(this.sort.column));
  }

  // Narrow screens have no head of the table.
  fillSelect() {
    const select = byId("lane-sort");
    const options = [["-1", "Trouble first"], ...COLUMNS.map(({ title }, at) => [String(at), title])];
    select.append(...options.map(([value, text]) => h("option", { value }, text)));
    select.addEventListener("change", () => this.sortBy(COLUMNS[Number(select.value)] ?? null));
  }

  /** Draw the lanes there are; `isAsked`: somebody asked for others, or another order. */
  draw({ isAsked = false } = {}) {
    const rows = sorted(this.lanes, this.sort).map((lane) => this.rowOf(lane));
    this.drawn.element.hidden = rows.length === 0;
    this.place(rows, isAsked);
    const kept = new Set(this.lanes.map(nameOf));
    for (const name of this.rows.keys()) if (!kept.has(name)) this.rows.delete(name);
  }

  rowOf(lane) {
    const row =
      this.rows.get(nameOf(lane)) ?? laneRow(this.drawn, lane, () => this.load());
    this.rows.set(nameOf(lane), row);
    row.show(lane);
    return row.element;
  }

  say({ lanes, lanes_total: total, lanes_next: next }) {
    const { query } = this.asked;
    const isByName = query.get("order") === "name";
    const every = addressOf("lanes", { ...Object.fromEntries(query), order: "name" });
    const note = byId("lane-note");
    note.replaceChildren(
      isByName ? `${plural(total, "destination")} by name.` : inWordsOf(lanes.length, total, query.size),
    );
    if (lanes.length < total && !isByName) note.append(" ", h("a", { href: every }, "All of them by name"));
    byId("lane-pages").replaceChildren(isByName ? pages("lanes", query, next) : "");
  }

  place(rows, isAsked) {
    const body = this.drawn.body;
    const old = [...body.children];
    const isSame = old.length === rows.length && rows.every((row, at) => row === old[at]);
    if (isSame) return;
    // A button must not move away below the pointer or the focus: then only what is gone goes,
    // and what is new comes last.
    const isHeld = !isAsked && body.matches(":hover, :focus-within");
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    if (isHeld) {
      for (const row of old) if (!rows.includes(row)) row.remove();
      body.append(...rows.filter((row) => !old.includes(row)));
    } else body.replaceChildren(...rows);
    if (focused?.isConnected) focused.focus();
  }
}

/** What the server is asked for: pages where they are by name, else those with most messages. */
function laneQuery(query) {
  const isByName = query.get("order") === "name";
  const asked = new URLSearchParams({
    lanes_limit: String(MOST_ROWS),
    lanes_order: isByName ? "name" : "messages",
  });
  for (const { name } of FIELDS) if (query.has(name)) asked.set(`lanes_${name}`, query.get(name));
  if (isByName && query.has("cursor")) asked.set("lanes_cursor", query.get("cursor"));
  return asked;
}

function inWordsOf(shown, total, isFiltered) {
  if (total === 0) return isFiltered ? "There are no such destinations." : "Nothing waits and nothing is held.";
  if (shown === total) return `${plural(total, "destination")}.`;
  return `The ${count(shown)} destinations with most messages, of ${count(total)}.`;
}

function sorted(lanes, { column, isUp }) {
  if (column === null) return lanes.toSorted(byTrouble);
  const sign = isUp ? 1 : -1;
  return lanes.toSorted(
    (one, other) =>
      sign * compare(column.key(one), column.key(other)) || compare(nameOf(one), nameOf(other)),
  );
}

function byTrouble(one, other) {
  const [mine, its] = [one, other].map((lane) => TROUBLE.indexOf(stateOf(lane).kind));
  return mine - its || waitingOf(other) - waitingOf(one) || compare(nameOf(one), nameOf(other));
}

function compare(one, other) {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
