// The section of dead letters: groups that lead to their letters, and the list of those.

import { call, inWords, isOurs } from "./api.js";
import { DeadFilter, filterOf, inWordsOf, needsLetters, SECTION } from "./deadfilter.js";
import { byId, h, setText, swap, table, tag } from "./dom.js";
import { asked, bytes, count, outcome, plural, reason, visible } from "./format.js";
import { moveMany, redriveOne } from "./moving.js";
import { notify } from "./notice.js";
import { pages } from "./paging.js";
import { addressOf, ago, button, code, linkButton } from "./values.js";

const LIST = `${SECTION}/list`;
const MOST_GROUPS = 200;
const PAGE = 50;

/** Show what the address says: groups, or a list, with a filter. */
export function deadLetters(poll) {
  let again = () => {};
  const form = new DeadFilter(() => again());
  byId("dead-filter").append(form.element);
  return {
    async show({ rest, query, signal }) {
      const result = byId("dead-result");
      const isList = rest === "list";
      again = () => this.show({ rest, query, signal });
      form.showOf(query, isList);
      setText(byId("dead-status"), "");
      result.setAttribute("aria-busy", "true");
      // What can be pressed is always of the address that is shown.
      const address = `${rest}?${query}`;
      if (result.dataset.address !== address) result.replaceChildren();
      result.dataset.address = address;
      try {
        const parts = await (isList ? list(query, signal, again) : groups(query, signal, again));
        swap(result, parts);
      } catch (error) {
        if (isOurs(error, signal)) return;
        setText(byId("dead-status"), inWords(error));
      } finally {
        result.removeAttribute("aria-busy");
      }
      poll.soon();
    },
  };
}

async function groups(query, signal, refresh) {
  const filter = filterOf(query);
  // The server tells the largest thousand.
  const asked = new URLSearchParams(filter);
  const { items, total: groupCount } = await call(`v1/dead-letters/groups?${asked}`, { signal });
  const total = items.reduce((sum, group) => sum + group.count, 0);
  const isFiltered = Object.keys(filter).length > 0;
  const head = views(filter, { isList: false, isEmpty: total === 0 }, refresh);
  if (total === 0) {
    const none = isFiltered ? "There are no such dead letters." : "There are no dead letters.";
    return [head, h("p", { class: "empty" }, none)];
  }
  const shown = items.slice(0, MOST_GROUPS);
  const hidden = groupCount - shown.length;
  const drawn = table("By destination and last error, most letters first", [
    { title: "Destination", isHeader: true, isWide: true, isBroad: true },
    { title: "Last error", isWide: true },
    { title: "Letters", isNumber: true },
    { title: "Bodies", isNumber: true },
    { title: "Oldest", isNumber: true },
    { title: "Newest", isNumber: true },
    { title: h("span", { class: "unseen" }, "Actions"), isActions: true },
  ]);
  drawn.body.append(...shown.map((group) => drawn.row(groupCells(group, filter, refresh))));
  const more = items.length < groupCount ? "More than " : "";
  return [
    head,
    h(
      "p",
      { class: "lead" },
      `${more}${plural(total, "dead letter")} in ${plural(groupCount, "group")}.`,
    ),
    drawn.element,
    hidden ? h("p", { class: "hint" }, `${plural(hidden, "smaller group")} not shown.`) : "",
  ];
}

function groupCells(group, filter, refresh) {
  const which = { ...filter, ...ofGroup(group) };
  const called = group.kind === "call" ? `, function ${visible(group.function)}` : "";
  const name = `${visible(group.destination)}${called}, ${outcome(group.status, group.error)}`;
  const where = `To ${name}.`;
  const act = (kind) => move(kind, which, where, refresh);
  const list = addressOf(LIST, which);
  return [
    h(
      "span",
      {},
      h("a", { href: list, "aria-label": `Letters: ${name}` }, code(group.destination)),
      group.kind === "call" ? " " : null,
      group.kind === "call" ? code(group.function) : null,
    ),
    `${outcome(group.status, group.error)}, ${reason(group.reason, group.kind)}`,
    count(group.count),
    bytes(group.size_bytes),
    ago(group.oldest),
    ago(group.newest),
    h(
      "div",
      { class: "row-buttons" },
      linkButton("Show", list, { kind: "small", label: `Show: ${name}` }),
      button("Redrive", act("redrive"), { kind: "small", label: `Redrive: ${name}` }),
      button("Purge", act("purge"), { kind: "small danger-text", label: `Purge: ${name}` }),
    ),
  ];
}

async function list(query, signal, refresh) {
  const filter = filterOf(query);
  const asked = new URLSearchParams({ ...filter, limit: String(PAGE) });
  if (query.has("cursor")) asked.set("cursor", query.get("cursor"));
  const { items, next } = await call(`v1/dead-letters?${asked}`, { signal });
  const drawn = table("Oldest first", [
    { title: "Id", isHeader: true, isWide: true, isTight: true },
    { title: "Died", isNumber: true },
    { title: "Request", isWide: true, isBroad: true },
    { title: "Last error", isWide: true },
    { title: "Body", isNumber: true },
    { title: h("span", { class: "unseen" }, "Actions"), isActions: true },
  ]);
  drawn.body.append(...items.map((letter) => drawn.row(letterCells(letter, refresh))));
  const isEmpty = items.length === 0 && next === null && !query.has("cursor");
  return [
    views(filter, { isList: true, isEmpty }, refresh),
    h("p", { class: "lead" }, inWordsOf(filter)),
    items.length ? drawn.element : h("p", { class: "empty" }, noneOf(filter, next)),
    pages(LIST, query, next),
  ];
}

function noneOf(filter, next) {
  if (next !== null) return "None among those that were looked at so far; the next page goes on.";
  return Object.keys(filter).length ? "There are no such dead letters." : "There are no dead letters.";
}

function letterCells(letter, refresh) {
  const { id } = letter;
  const where = `#/messages/${id}`;
  return [
    h("a", { href: where, class: "code" }, id),
    ago(letter.dead_at),
    h(
      "span",
      {},
      code(asked(letter)),
      letter.label && " ",
      letter.label && tag(visible(letter.label)),
    ),
    `${outcome(letter.last_status, letter.last_error)}, ${reason(letter.reason, letter.kind)}`,
    bytes(letter.size_bytes),
    h(
      "div",
      { class: "row-buttons" },
      linkButton("Show", where, { kind: "small", label: `Show ${id}` }),
      button("Redrive", () => redrive(id, refresh), { kind: "small", label: `Redrive ${id}` }),
    ),
  ];
}

/** From groups to letters and back with the same filter, and what can be done with all of them. */
function views(filter, { isList, isEmpty }, refresh) {
  const link = (text, section, isHere, values) => {
    const element = linkButton(text, addressOf(section, values), { kind: "small" });
    if (isHere) element.setAttribute("aria-current", "true");
    return element;
  };
  const known = needsLetters(filter) ? {} : filter;
  const which = Object.keys(filter).length ? " all of these" : " all";
  const act = (kind) => move(kind, filter, inWordsOf(filter), refresh);
  return h(
    "div",
    { class: "tools views" },
    h(
      "nav",
      { class: "switch", "aria-label": "Dead letters" },
      link("Groups", SECTION, !isList, known),
      link("Letters", LIST, isList, filter),
    ),
    button("Refresh", refresh, { kind: "small quiet" }),
    isEmpty ? null : button(`Redrive${which}`, act("redrive"), { kind: "small" }),
    isEmpty ? null : button(`Purge${which}`, act("purge"), { kind: "small danger-text" }),
  );
}

async function redrive(id, refresh) {
  try {
    await redriveOne(id);
    await refresh();
  } catch (error) {
    notify(inWords(error), "bad");
  }
}

function move(kind, filter, where, refresh) {
  return async () => {
    if (await moveMany(kind, filter, where)) await refresh();
  };
}

/** The filter that selects a group, and nothing else. */
function ofGroup(group) {
  const { kind, destination, reason: why } = group;
  const filter = { kind, destination, reason: why };
  if (kind === "call") filter.function = group.function;
  if (group.status !== null) filter.status = String(group.status);
  if (group.error !== null) filter.error = group.error;
  return filter;
}
