// The section of dead letters: groups, and the list of one group or of all.

import { call, inWords, isOurs } from "./api.js";
import { byId, h, setText, swap, table } from "./dom.js";
import { asked, bytes, count, instant, outcome, plural, reason, visible } from "./format.js";
import { moveMany, redriveOne } from "./moving.js";
import { notify } from "./notice.js";

const MOST_GROUPS = 200;
const PAGE = 50;

/** Show what the address says: groups, or a list with a filter. */
export function deadLetters(poll) {
  return {
    async show({ rest, query, signal }) {
      const result = byId("dead-result");
      setText(byId("dead-status"), "");
      result.setAttribute("aria-busy", "true");
      // What can be pressed is always of the address that is shown.
      const address = `${rest}?${query}`;
      if (result.dataset.address !== address) result.replaceChildren();
      result.dataset.address = address;
      try {
        const refresh = () => this.show({ rest, query, signal });
        const parts =
          rest === "list" ? await list(query, signal, refresh) : await groups(signal, refresh);
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

async function groups(signal, refresh) {
  // The server tells the largest thousand.
  const { items, total: groupCount } = await call("v1/dead-letters/groups", { signal });
  const total = items.reduce((sum, group) => sum + group.count, 0);
  const again = button("Refresh", refresh, "quiet");
  if (total === 0)
    return [
      h("p", { class: "empty" }, "There are no dead letters."),
      h("div", { class: "tools" }, again),
    ];
  const shown = items.slice(0, MOST_GROUPS);
  const hidden = groupCount - shown.length;
  const drawn = table("Dead letters by destination and cause, most first", [
    { title: "Destination", isHeader: true, isWide: true },
    { title: "Cause", isWide: true },
    { title: "Letters", isNumber: true },
    { title: "Bodies", isNumber: true },
    { title: "Oldest (UTC)" },
    { title: "Newest (UTC)" },
    { title: h("span", { class: "unseen" }, "Actions"), isActions: true },
  ]);
  drawn.body.append(...shown.map((group) => drawn.row(groupCells(group, refresh))));
  return [
    h(
      "p",
      { class: "lead" },
      items.length < groupCount
        ? `More than ${plural(total, "dead letter")} in ${plural(groupCount, "group")}.`
        : `${plural(total, "dead letter")} in ${plural(groupCount, "group")}.`,
    ),
    tools(
      {},
      "All dead letters, of every destination.",
      refresh,
      [again, link("Show all", {}, "")],
      " all",
    ),
    drawn.element,
    hidden ? h("p", { class: "hint" }, `${plural(hidden, "smaller group")} not shown.`) : "",
  ];
}

function groupCells(group, refresh) {
  const filter = filterOf(group);
  const called = group.kind === "call" ? `, function ${visible(group.function)}` : "";
  const name = `${visible(group.destination)}${called}, ${outcome(group.status, group.error)}`;
  const where = `To ${name}.`;
  return [
    group.kind === "call"
      ? h(
          "span",
          {},
          h("bdi", { class: "code" }, visible(group.destination)),
          " ",
          h("bdi", { class: "code" }, visible(group.function)),
        )
      : h("bdi", { class: "code" }, visible(group.destination)),
    `${outcome(group.status, group.error)}, ${reason(group.reason, group.kind)}`,
    count(group.count),
    bytes(group.size_bytes),
    instant(group.oldest),
    instant(group.newest),
    h(
      "div",
      { class: "row-buttons" },
      link("Show", filter, "small", `Show: ${name}`),
      button("Redrive", move("redrive", filter, where, refresh), "small", `Redrive: ${name}`),
      button("Purge", move("purge", filter, where, refresh), "small danger-text", `Purge: ${name}`),
    ),
  ];
}

async function list(query, signal, refresh) {
  const filter = Object.fromEntries(
    ["kind", "destination", "function", "status", "error"]
      .filter((name) => query.has(name))
      .map((name) => [name, query.get(name)]),
  );
  const asked = new URLSearchParams({ ...filter, limit: String(PAGE) });
  if (query.has("cursor")) asked.set("cursor", query.get("cursor"));
  const page = await call(`v1/dead-letters?${asked}`, { signal });
  const where = inWordsOf(filter);
  const drawn = table(`${where} Oldest first.`, [
    { title: "Id", isHeader: true, isWide: true, isTight: true },
    { title: "Died (UTC)", isTight: true },
    { title: "Request", isWide: true },
    { title: "Cause", isWide: true },
    { title: "Body", isNumber: true },
    { title: h("span", { class: "unseen" }, "Actions"), isActions: true },
  ]);
  drawn.body.append(...page.items.map((letter) => drawn.row(letterCells(letter, refresh))));
  return [
    h("p", { class: "lead" }, h("a", { href: "#/dead-letters" }, "All groups"), ` / ${where}`),
    tools(filter, where, refresh, [button("Refresh", refresh, "quiet")], " all of these"),
    page.items.length ? drawn.element : h("p", { class: "empty" }, "There are none here any more."),
    pages(query, page.next),
  ];
}

function letterCells(letter, refresh) {
  return [
    h("a", { href: `#/messages/${letter.id}`, class: "code" }, letter.id),
    instant(letter.dead_at),
    h("bdi", { class: "code" }, visible(asked(letter))),
    `${outcome(letter.last_status, letter.last_error)}, ${reason(letter.reason, letter.kind)}`,
    bytes(letter.size_bytes),
    h(
      "div",
      { class: "row-buttons" },
      h(
        "a",
        {
          class: "button small",
          href: `#/messages/${letter.id}`,
          "aria-label": `Show ${letter.id}`,
        },
        "Show",
      ),
      button("Redrive", () => redrive(letter.id, refresh), "small", `Redrive ${letter.id}`),
    ),
  ];
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

function tools(filter, where, refresh, first, which) {
  return h(
    "div",
    { class: "tools" },
    ...first,
    button(`Redrive${which}`, move("redrive", filter, where, refresh), ""),
    button(`Purge${which}`, move("purge", filter, where, refresh), "danger-text"),
  );
}

function pages(query, next) {
  const at = (cursor) => {
    const other = new URLSearchParams(query);
    if (cursor === null) other.delete("cursor");
    else other.set("cursor", cursor);
    return `#/dead-letters/list?${other}`;
  };
  return h(
    "nav",
    { class: "tools", "aria-label": "Pages" },
    query.has("cursor") ? h("a", { class: "button", href: at(null) }, "First page") : null,
    next === null ? null : h("a", { class: "button", href: at(next) }, "Next page"),
  );
}

function filterOf(group) {
  const filter = { kind: group.kind, destination: group.destination };
  if (group.kind === "call") filter.function = group.function;
  if (group.status !== null) filter.status = String(group.status);
  if (group.error !== null) filter.error = group.error;
  return filter;
}

function inWordsOf(filter) {
  if (!filter.destination) return "Dead letters of every destination.";
  const status = filter.status === undefined ? null : filter.status;
  const cause =
    status === null && !filter.error ? "" : `, ${outcome(status, filter.error ?? null)}`;
  const called = filter.function === undefined ? "" : `, function ${visible(filter.function)}`;
  return `Dead letters to ${visible(filter.destination)}${called}${cause}.`;
}

function link(text, filter, kind, label) {
  const query = new URLSearchParams(filter).toString();
  return h(
    "a",
    {
      class: `button ${kind}`,
      href: `#/dead-letters/list${query && `?${query}`}`,
      "aria-label": label,
    },
    text,
  );
}

function button(text, act, kind, label) {
  return h("button", { type: "button", class: kind, click: act, "aria-label": label }, text);
}
