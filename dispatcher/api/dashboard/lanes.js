// The section of lanes: a table that is kept up to date in place, so that focus stays where it is.

import { call, inWords } from "./api.js";
import { byId, h, setText, table, tag } from "./dom.js";
import { count, distance, plural, visible } from "./format.js";
import { notify } from "./notice.js";

const MOST_ROWS = 100;

const waiting = (lane) => lane.ready + (lane.scheduled ?? 0) + lane.in_flight;
const nameOf = (lane) => `${lane.kind} ${lane.destination}`;
// Sessions are fetched by whoever wants to: there is nothing to hold.
const canBeHeld = (lane) => /^https?:/.test(lane.destination);

const COLUMNS = [
  {
    title: "Destination",
    key: (lane) => lane.destination,
    isText: true,
    isHeader: true,
    isWide: true,
  },
  { title: "Kind", key: (lane) => lane.kind, isText: true },
  { title: "Ready", key: (lane) => lane.ready, isNumber: true },
  { title: "Scheduled", key: (lane) => lane.scheduled ?? -1, isNumber: true },
  { title: "In flight", key: (lane) => lane.in_flight, isNumber: true },
  { title: "Limit", key: (lane) => lane.limit ?? Infinity, isNumber: true },
  { title: "Breaker", key: (lane) => lane.breaker, isText: true },
  { title: "State", key: (lane) => stateOf(lane), isText: true },
];

/** Fill the section, and keep it up to date. */
export function lanes(poll) {
  const view = new Lanes(poll);
  poll.listen(({ stats }) => stats && view.update(stats.lanes, stats.lanes_total));
  return { show() {} };
}

class Lanes {
  constructor(poll) {
    this.poll = poll;
    this.lanes = [];
    this.total = 0; // above some number the server tells only the lanes with most messages
    this.rows = new Map(); // by kind and destination
    this.sort = { column: null, isUp: false }; // no column: those with most to do first
    this.drawn = this.makeTable();
    this.filter = byId("lane-filter");
    this.filter.addEventListener("input", () => this.draw({ isAsked: true }));
    byId("lane-table").append(this.drawn.element);
    this.fillSelect();
    this.markSort();
  }

  update(lanes, total) {
    this.lanes = lanes;
    this.total = total;
    this.draw();
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
    return table("Lanes, by default those with most messages first", [...heads, actions]);
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
    select.append(
      h("option", { value: "-1" }, "Most messages"),
      ...COLUMNS.map((column, at) => h("option", { value: String(at) }, column.title)),
    );
    select.addEventListener("change", () => this.sortBy(COLUMNS[Number(select.value)] ?? null));
  }

  /** Draw the lanes there are; `isAsked`: somebody asked for another order. */
  draw({ isAsked = false } = {}) {
    const wanted = this.filter.value.trim().toLowerCase();
    const found = this.lanes.filter((lane) => lane.destination.toLowerCase().includes(wanted));
    const shown = sorted(found, this.sort).slice(0, MOST_ROWS);
    this.say(found.length, shown.length, wanted !== "");
    this.place(
      shown.map((lane) => this.rowOf(lane)),
      isAsked,
    );
    const kept = new Set(shown.map(nameOf));
    for (const name of this.rows.keys()) if (!kept.has(name)) this.rows.delete(name);
  }

  say(found, shown, isFiltered) {
    const all = isFiltered
      ? `${plural(found, "lane")} of ${count(this.lanes.length)}`
      : plural(found, "lane");
    const told =
      this.lanes.length < this.total
        ? `${all} with most messages, of ${count(this.total)} in all`
        : all;
    const text =
      shown < found
        ? `${told}; the first ${count(shown)} are shown. Filter to see others.`
        : `${told}.`;
    setText(
      byId("lane-note"),
      found === 0 && !isFiltered ? "Nothing waits and nothing is held." : text,
    );
  }

  place(rows, isAsked) {
    const body = this.drawn.body;
    const old = [...body.children];
    const isSame = old.length === rows.length && rows.every((row, at) => row === old[at]);
    if (isSame) return;
    // A button must not move away below the pointer or the focus: then only what is gone goes,
    // and what is new comes last.
    const isHeld = !isAsked && body.matches(":hover, :focus-within");
    const next = isHeld
      ? [...old.filter((row) => rows.includes(row)), ...rows.filter((row) => !old.includes(row))]
      : rows;
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    if (isHeld) {
      for (const row of old) if (!next.includes(row)) row.remove();
      body.append(...next.filter((row) => !old.includes(row)));
    } else body.replaceChildren(...next);
    if (focused?.isConnected) focused.focus();
  }

  rowOf(lane) {
    const row = this.rows.get(nameOf(lane)) ?? this.makeRow(lane);
    row.lane = lane;
    setText(row.ready, count(lane.ready));
    setText(row.scheduled, lane.scheduled === null ? "–" : count(lane.scheduled));
    setText(row.inFlight, count(lane.in_flight));
    setText(row.limit, lane.limit === null ? "none" : count(lane.limit));
    row.breaker.className = lane.breaker === "closed" ? "" : "tag warn";
    setText(row.breaker, lane.breaker.replace("_", " "));
    row.state.className = stateOf(lane) === "sending" ? "" : "tag warn";
    setText(row.state, stateInWords(lane));
    setText(row.button, lane.held ? "Resume" : "Hold");
    row.button.setAttribute(
      "aria-label",
      `${lane.held ? "Resume" : "Hold"} ${visible(lane.destination)}`,
    );
    return row.element;
  }

  makeRow(lane) {
    const { destination, kind } = lane;
    const text = () => h("span");
    const row = {
      ready: text(),
      scheduled: text(),
      inFlight: text(),
      limit: text(),
      breaker: text(),
      state: text(),
      button: h("button", { type: "button", class: "small", click: () => this.toggle(row) }),
    };
    row.element = this.drawn.row([
      h("bdi", { class: "code" }, visible(destination)),
      kind === "call" ? "calls" : "messages",
      row.ready,
      row.scheduled,
      row.inFlight,
      row.limit,
      row.breaker,
      row.state,
      canBeHeld(lane) ? row.button : "",
    ]);
    this.rows.set(nameOf(lane), row);
    return row;
  }

  async toggle(row) {
    const { destination, held } = row.lane;
    row.button.setAttribute("aria-disabled", "true");
    try {
      const verb = held ? "resume" : "hold";
      await call(`v1/destinations/${encodeURIComponent(destination)}/${verb}`, { method: "POST" });
      notify(
        held
          ? `${visible(destination)} is sent to again.`
          : `${visible(destination)} is held. Its messages and calls wait.`,
      );
      this.poll.soon();
    } catch (error) {
      notify(inWords(error), "bad");
    } finally {
      row.button.removeAttribute("aria-disabled");
    }
  }
}

function sorted(lanes, { column, isUp }) {
  const key = column?.key ?? waiting;
  const sign = isUp ? 1 : -1;
  return lanes.toSorted(
    (one, other) =>
      sign * compare(key(one), key(other)) || compare(one.destination, other.destination) ||
      compare(other.kind, one.kind),
  );
}

function compare(one, other) {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

function stateOf(lane) {
  if (lane.held) return "held";
  if (lane.paused_until !== null) return "backs off";
  return lane.breaker === "closed" ? "sending" : "probing";
}

function stateInWords(lane) {
  const state = stateOf(lane);
  return state === "backs off" ? `backs off, tries again ${distance(lane.paused_until)}` : state;
}
