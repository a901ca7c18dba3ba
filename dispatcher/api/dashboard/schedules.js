// The section of schedules: which calls are made when, and what their last ones came to.

import { call, inWords, isOurs } from "./api.js";
import { byId, h, setText, table, tag } from "./dom.js";
import { CALL_KINDS, distance, instant, visible } from "./format.js";
import { notify } from "./notice.js";

const COLUMNS = [
  { title: "Name", isHeader: true, isWide: true },
  { title: "Cron", isTight: true },
  { title: "Function", isWide: true },
  { title: "Next (UTC)", isTight: true },
  { title: "Last (UTC)", isTight: true },
  { title: h("span", { class: "unseen" }, "Actions"), label: "", isActions: true },
];

/** Fill the section, and keep it up to date while it is shown. */
export function schedules(poll) {
  const view = new Schedules();
  poll.listen(({ stats }) => stats && view.follow());
  return { show: (address) => view.show(address) };
}

class Schedules {
  constructor() {
    this.signal = null; // of the section while it is shown
    this.isBusy = false;
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
    if (this.signal !== null && !this.signal.aborted && !this.isBusy) this.load();
  }

  async load() {
    const { signal } = this;
    this.isBusy = true;
    try {
      const { items } = await call("v1/schedules", { signal });
      if (signal === this.signal) this.draw(items);
    } catch (error) {
      if (!isOurs(error, signal)) setText(byId("schedules-status"), inWords(error));
    } finally {
      this.isBusy = false;
    }
  }

  draw(items) {
    setText(byId("schedules-status"), "");
    setText(byId("schedules-note"), items.length ? "" : "There are no schedules.");
    this.drawn.element.hidden = !items.length;
    const rows = items.map((one) => this.rowOf(one));
    const kept = new Set(items.map(keyOf));
    for (const [key, row] of this.rows) {
      if (kept.has(key)) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    const { body } = this.drawn;
    // Rows stay where they are: a button must not be another one when it is pressed.
    rows.forEach((row, at) => {
      if (body.children[at] !== row.element) body.insertBefore(row.element, body.children[at] ?? null);
    });
  }

  rowOf(one) {
    const row = this.rows.get(keyOf(one)) ?? this.makeRow(one);
    row.one = one;
    setText(row.cron, one.cron);
    setText(row.zone, one.timezone);
    setText(row.function, visible(one.call.function));
    row.function.title = visible(one.call.endpoint);
    row.next.className = one.paused ? "tag warn" : "";
    setText(row.next, one.paused ? "paused" : instant(one.next_at));
    setText(row.soon, nextInWords(one));
    setLast(row.last, one.last);
    setText(row.toggle, one.paused ? "Resume" : "Pause");
    row.toggle.setAttribute("aria-label", `${one.paused ? "Resume" : "Pause"} ${visible(one.name)}`);
    return row;
  }

  makeRow(one) {
    const name = visible(one.name);
    const row = {
      cron: h("span", { class: "code" }),
      zone: h("small"),
      function: h("bdi", { class: "code" }),
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
      row.function,
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
    await this.act(row, row.run, "run", ({ id }) => `Call ${id} is dispatched.`);
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

/** How far the next firing is, and what it waits for. */
function nextInWords({ paused, next_at: at, is_waiting: isWaiting }) {
  if (paused) return "";
  return isWaiting ? "when the call before has ended" : distance(at);
}

/** When it fired last, and how that call stands, with a link to it. */
function setLast(cell, last) {
  const text = last === null ? "" : `${last.id} ${last.state}`;
  if (cell.dataset.shown === text) return;
  cell.dataset.shown = text;
  if (last === null) {
    cell.replaceChildren("never");
    return;
  }
  const link = h("a", { href: `#/calls/${last.id}` }, instant(last.at));
  const state = last.state ?? "no longer known";
  cell.replaceChildren(link, h("br"), tag(state, CALL_KINDS[last.state] ?? ""));
}
