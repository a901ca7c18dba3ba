// The section of the audit: who did what, to how many.

import { call, inWords, isOurs } from "./api.js";
import { byId, h, setText, swap, table, tag } from "./dom.js";
import { FilterForm } from "./filter.js";
import { count, instant, visible } from "./format.js";
import { selectionInWords } from "./jobs.js";
import { pages } from "./paging.js";
import { ago, button, code } from "./values.js";

const PAGE = 50;
/** What takes something away, and what did not go well by itself. */
const KINDS = { purged: "warn", cancelled: "warn", key_refused: "bad" };
/** What the server tells of. */
export const ACTIONS = [
  "purged",
  "redriven",
  "retried",
  "cancelled",
  "dead_lettered",
  "redirected",
  "held",
  "resumed",
  "exported",
  "imported",
  "replayed",
  "backup_begun",
  "backup_stopped",
  "call_cancelled",
  "schedule_set",
  "schedule_deleted",
  "schedule_run",
  "revealed",
  "job_begun",
  "job_changed",
  "job_cancelled",
  "key_made",
  "key_refused",
];
const FIELDS = [
  {
    name: "action",
    label: "Action",
    choices: [["", "all actions"], ...ACTIONS.map((one) => [one, one.replaceAll("_", " ")])],
  },
  { name: "key", label: "Name of the key", isCode: true },
  { name: "since", label: "Done since (UTC)", type: "datetime-local" },
];

/** Show what the address asks for. */
export function audit() {
  const view = new Audit();
  return { show: (address) => view.show(address) };
}

class Audit {
  constructor() {
    this.shown = null;
    this.form = new FilterForm("audit", FIELDS, () => this.load());
    byId("audit-filter").append(this.form.element);
  }

  async show({ query, signal }) {
    this.shown = { query, signal };
    this.form.show(query);
    await this.load();
  }

  async load() {
    const { shown } = this;
    const { query, signal } = shown;
    const asked = new URLSearchParams({ ...Object.fromEntries(query), limit: String(PAGE) });
    setText(byId("audit-status"), "");
    try {
      const page = await call(`v1/audit?${asked}`, { signal });
      if (shown === this.shown) swap(byId("audit-result"), this.parts(page, query));
    } catch (error) {
      if (isOurs(error, signal)) return;
      swap(byId("audit-result"), []);
      setText(byId("audit-status"), inWords(error));
    }
  }

  parts({ items, next, unkept }, query) {
    const drawn = table("What operators did, the newest first", [
      { title: "When", isHeader: true, isTight: true },
      { title: "Action", isTight: true },
      { title: "Key", isTight: true },
      { title: "To what", isWide: true },
      { title: "How many", isNumber: true },
      { title: "Failed with" },
      { title: "Job", isTight: true },
    ]);
    drawn.body.append(...items.map((entry) => drawn.row(cells(entry))));
    const none = query.size ? "There is no such entry." : "Nothing was done yet.";
    return [
      h("div", { class: "tools" }, button("Refresh", () => this.load(), { kind: "small" })),
      unkept
        ? h("p", { class: "error" }, `The newest are in memory only, and gone after a restart: ${visible(unkept)}`)
        : "",
      items.length ? drawn.element : h("p", { class: "empty" }, none),
      pages("audit", query, next),
    ];
  }
}

function cells({ at, action, key, selection, count: number, error, job }) {
  return [
    h("span", { class: "two-lines" }, h("time", { datetime: at }, `${instant(at)} UTC`), h("small", {}, ago(at))),
    tag(action.replaceAll("_", " "), KINDS[action] ?? ""),
    code(key) ?? "",
    code(selectionInWords(selection)) ?? "",
    number === null ? "" : count(number),
    error === null ? "" : h("span", { class: "error" }, error),
    job === null ? "" : h("a", { href: "#/jobs", class: "code" }, job),
  ];
}
