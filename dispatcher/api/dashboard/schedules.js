// The section of schedules: which calls and messages are made when, and what became of the last.

import { call, inWords, isOurs } from "./api.js";
import { Asking } from "./asking.js";
import { arrange, byId, h, setText, table, tag } from "./dom.js";
import { CALL_KINDS, distance, instant, visible } from "./format.js";
import { notify } from "./notice.js";

const COLUMNS = [
  { title: "Name", isHeader: true, isWide: true },
  { title: "Cron", isTight: true },
  { title: "What", isWide: true },
  { title: "Next (UTC)", isTight: true },
  { title: "Last (UTC)", isTight: true },
  { title: h("span", { class: "unseen" }, "Actions"), label: "", isActions: true },
];

/** How states of what was made look. */
const KINDS = { ...CALL_KINDS, delivered: "good", dead: "bad" };

/** Fill the section, and keep it up to date while it is shown. */
export function schedules(poll) {
  const view = new Schedules();
  poll.listen(({ overview }) => overview && view.follow());
  return { show: (address) => view.show(address) };
}

class Schedules {
  constructor() {
    this.signal = null; // of the section while it is shown
    this.asking = new Asking();
    this.rows = new Map(); // by application and name
    this.drawn = table("Schedules, by name", COLUMNS);
    byId("schedules-result").append(this.drawn.element);
    this.drawn.element.hidden = true;
  }

  async show({ signal }) {
    this.signal = signal;
    await this.load();
  }

  follow() {
    if (this.signal !== null && !this.signal.aborted && !this.asking.isOpen) this.load();
  }

  load() {
    const { signal } = this;
    return this.asking.ask(
      () => call("v1/schedules", { signal }),
      ({ items }) => this.draw(items),
      (error) => isOurs(error, signal) || setText(byId("schedules-status"), inWords(error)),
    );
  }

  draw(items) {
    setText(byId("schedules-status"), "");
    setText(byId("schedules-note"), items.length ? "" : "There are no schedules.");
    this.drawn.element.hidden = !items.length;
    const rows = items.map((one) => this.rowOf(one));
    arrange(this.drawn.body, this.rows, items.map(keyOf), rows);
  }

  rowOf(one) {
    const row = this.rows.get(keyOf(one)) ?? this.makeRow(one);
    row.one = one;
    setText(row.cron, one.cron);
    setText(row.zone, one.timezone);
    setText(row.what, whatOf(one));
    row.what.title = whereOf(one);
    row.next.className = one.paused ? "tag warn" : "";
    setText(row.next, one.paused ? "paused" : instant(one.next_at));
    setText(row.soon, nextInWords(one));
    setLast(row.last, one);
    setText(row.toggle, one.paused ? "Resume" : "Pause");
    row.toggle.setAttribute("aria-label", `${one.paused ? "Resume" : "Pause"} ${visible(one.name)}`);
    return row;
  }

  makeRow(one) {
    const name = visible(one.name);
    const row = {
      cron: h("span", { class: "code" }),
      zone: h("small"),
      what: h("bdi", { class: "code" }),
      next: h("span"),
      soon: h("small"),
      last: h("span"),
      toggle: h("button", { type: "button", class: "small", click: () => this.toggle(row) }),
      run: h(
        "button",
        { type: "button", class: "small", "aria-label": `Run ${name} now`, click: () => this.run(row) },
        "Run now",
      ),
    };
    const whose = one.application === "" ? null : h("small", {}, ` of ${visible(one.application)}`);
    row.element = this.drawn.row([
      h("span", {}, h("bdi", { class: "code" }, name), whose),
      h("span", {}, row.cron, h("br"), row.zone),
      row.what,
      h("span", {}, row.next, h("br"), row.soon),
      row.last,
      h("div", { class: "row-buttons" }, row.toggle, row.run),
    ]);
    this.rows.set(keyOf(one), row);
    return row;
  }

  async toggle(row) {
    const { paused, name } = row.one;
    await this.act(row, row.toggle, paused ? "resume" : "pause", () =>
      paused ? `${visible(name)} fires again.` : `${visible(name)} is paused.`,
    );
  }

  async run(row) {
    const kind = row.one.call ? "Call" : "Message";
    await this.act(row, row.run, "run", ({ id }) => `${kind} ${id} is dispatched.`);
  }

  async act({ one }, button, verb, told) {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    const whose = one.application && `?application=${encodeURIComponent(one.application)}`;
    try {
      const path = `v1/schedules/${encodeURIComponent(one.name)}/${verb}${whose}`;
      notify(told(await call(path, { method: "POST" })));
      await this.load();
    } catch (error) {
      notify(inWords(error), "bad");
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

function keyOf({ application, name }) {
  return `${application}/${name}`;
}

/** What is made: the name of the function, or the request. */
function whatOf({ call: one, method, destination, target }) {
  return visible(one ? one.function : `${method} ${destination}${target}`);
}

/** Where it goes, and with what. */
function whereOf({ call: one, destination, options }) {
  if (one) return visible(one.endpoint);
  const said = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  return visible([destination, ...said].join(" "));
}

/** How far the next firing is, and what it waits for. */
function nextInWords({ call: one, paused, next_at: at, is_waiting: isWaiting }) {
  if (paused) return "";
  return isWaiting ? `when the ${one ? "call" : "message"} before has ended` : distance(at);
}

/** When it fired last, and what became of that, with a link to it; and of those before. */
function setLast(cell, { call: one, last, earlier }) {
  const before = earlier.map(({ state }) => state ?? "unknown").join(", ");
  const text = last === null ? "" : `${last.id} ${last.state} ${before}`;
  if (cell.dataset.shown === text) return;
  cell.dataset.shown = text;
  if (last === null) {
    cell.replaceChildren("never");
    return;
  }
  const link = h("a", { href: `#/${one ? "calls" : "messages"}/${last.id}` }, instant(last.at));
  const state = last.state ?? "no longer known";
  cell.replaceChildren(link, h("br"), tag(state, KINDS[last.state] ?? ""));
  if (before) cell.append(h("br"), h("small", {}, `before: ${before}`));
}
