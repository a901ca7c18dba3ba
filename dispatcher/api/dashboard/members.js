// Who does the work, and who has which partition: a part of the overview, where there is more than
// one of either.

import { call, isOurs } from "./api.js";
import { Asking } from "./asking.js";
import { arrange, byId, h, setText, table } from "./dom.js";
import { count, distance, duration, visible } from "./format.js";

const KINDS = {
  live: "good",
  open: "good",
  joining: "warn",
  opening: "warn",
  leaving: "warn",
  away: "bad",
  failed: "bad",
  free: "bad",
};

/** Keeps the part up to date while the overview is shown. */
export class Members {
  constructor() {
    this.asking = new Asking();
    this.startedAt = null; // of the server that was alone when it was asked
    this.members = new List("What each of them has", "Name", [
      { title: "State", isTight: true },
      { title: "Since", isTight: true },
      { title: "Partitions", isWide: true },
    ]);
    this.partitions = new List("Who accepts and delivers their messages", "Partition", [
      { title: "Has it", isWide: true },
      { title: "State", isTight: true },
      { title: "Since", isTight: true },
      { title: "Log waits", isTight: true },
    ]);
    this.title = h("h3", {}, "Processes");
    byId("members").append(
      h("article", { class: "card" }, this.title, this.members.element),
      h("article", { class: "card" }, h("h3", {}, "Partitions"), this.partitions.element),
    );
  }

  /** Ask again, unless this server was alone when it was asked: then it is until it starts anew. */
  follow(overview, signal) {
    if (overview === null) this.hide();
    if (overview === null || this.asking.isOpen || this.startedAt === overview.started_at) return;
    this.asking.ask(
      () => call("v1/cluster", { signal }),
      (found) => this.draw(found, overview),
      (error) => isOurs(error, signal) || this.hide(),
    );
  }

  hide() {
    byId("members").hidden = true;
  }

  draw({ cluster, members, partitions }, overview) {
    const isAlone = !cluster && members.length === 1 && partitions.length === 1;
    this.startedAt = isAlone ? overview.started_at : null;
    byId("members").hidden = isAlone;
    if (isAlone) return;
    setText(this.title, cluster ? "Nodes" : "Processes");
    const names = new Map(members.map((one) => [one.number, nameOf(one, cluster)]));
    this.members.draw(members, (one) => [
      memberCell(one, names.get(one.number)),
      state(one.state),
      since(one),
      text(spans(one.partitions) || "none"),
    ]);
    this.partitions.draw(partitions, (one) => [
      text(count(one.number)),
      text(one.owner === null ? "nobody" : (names.get(one.owner) ?? `member ${one.owner}`)),
      state(one.state, one.why),
      since(one),
      text(one.late_ms === null ? "–" : one.late_ms === 0 ? "no" : duration(one.late_ms / 1000)),
    ]);
  }
}

/** A table whose rows stay the same elements: what is read or selected does not go away. */
class List {
  constructor(caption, first, others) {
    this.drawn = table(caption, [{ title: first, isHeader: true, isTight: true }, ...others]);
    this.element = this.drawn.element;
    this.rows = new Map(); // by number
  }

  draw(items, cellsOf) {
    const rows = items.map((item) => {
      const shown = JSON.stringify(item);
      const row = this.rows.get(item.number) ?? { element: this.drawn.row([]), shown: null };
      this.rows.set(item.number, row);
      cellsOf(item).forEach((cell, at) => cell.show(row.element.children[at], row.shown !== shown));
      row.shown = shown;
      return row;
    });
    arrange(this.drawn.body, this.rows, items.map(({ number }) => number), rows);
  }
}

// Cells: `show` fills a cell of a row; of what did not change only what says how long ago.

function text(words) {
  return { show: (cell) => setText(cell, words) };
}

function since({ since: at }) {
  if (at === null) return text("–");
  return {
    show(cell, isNew) {
      if (isNew) cell.replaceChildren(h("time", { datetime: at, title: at }));
      setText(cell.firstChild, distance(at));
    },
  };
}

function state(word, why = "") {
  const tag = () => h("span", { class: `tag ${KINDS[word] ?? ""}` }, word);
  const reason = () => (why ? [h("small", {}, h("bdi", {}, visible(why)))] : []);
  return {
    show: (cell, isNew) => isNew && cell.replaceChildren(h("span", { class: "two-lines" }, tag(), ...reason())),
  };
}

function memberCell({ address, has_api: hasApi }, name) {
  const parts = [hasApi ? "answers this page" : null, address === null ? null : visible(address)];
  const said = parts.filter((part) => part !== null).join("; ");
  return {
    show(cell, isNew) {
      if (!isNew) return;
      const small = said ? h("small", {}, h("bdi", {}, said)) : null;
      cell.replaceChildren(h("span", { class: "two-lines" }, h("bdi", {}, name), ...(small ? [small] : [])));
    },
  };
}

function nameOf({ number, node }, isCluster) {
  return isCluster ? visible(node) : `Process ${number}`;
}

/** Numbers in words: `0–3, 7`. */
export function spans(numbers) {
  const found = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else found.push([number, number]);
  }
  return found.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
}
