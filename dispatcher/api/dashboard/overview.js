// The section that is seen first: what is wrong, what there is, and how the last hour was.

import { call, isOurs } from "./api.js";
import { Chart, Pointer } from "./chart.js";
import { byId, h, setText, swap } from "./dom.js";
import { bytes, count, distance, duration, instant, lastError, rate, visible } from "./format.js";
import { Members } from "./members.js";
import { newest, pastOf } from "./past.js";
import { problemList } from "./problems.js";
import { addressOf, ago } from "./values.js";

const NONE = "–";
const UNDER_WAY = ["ready", "scheduled", "running", "suspended", "outside", "ending"];
const sum = (numbers, names) => names.reduce((all, name) => all + (numbers[name] ?? 0), 0);
const isKnown = (value) => value !== null && value !== undefined;
const perSecond = (value) => (isKnown(value) ? `${rate(value)}/s` : NONE);
const number = (value) => (isKnown(value) ? count(Math.round(value)) : NONE);
const size = (value) => (isKnown(value) ? bytes(value) : NONE);
const time = (value) => (isKnown(value) ? duration(value) : NONE);

const CHARTS = [
  {
    title: "Messages a second",
    lines: [
      { field: "delivered", name: "delivered", style: "first" },
      { field: "accepted", name: "accepted", style: "second" },
    ],
    say: perSecond,
    least: 1,
  },
  {
    title: "Waiting messages",
    lines: [
      { field: "ready", name: "ready", style: "first" },
      { field: "scheduled", name: "scheduled", style: "second" },
      { field: "in_flight", name: "in flight", style: "third" },
    ],
    say: number,
    least: 5,
  },
  {
    title: "Failures a second",
    lines: [
      { field: "dead", name: "dead", style: "bad" },
      { field: "attempts_failed", name: "attempts", style: "first" },
      { field: "refused", name: "refused", style: "second" },
    ],
    say: perSecond,
    least: 1,
  },
  {
    title: "Time of an attempt",
    lines: [
      { field: "attempt_p50_ms", name: "median", style: "first" },
      { field: "attempt_p95_ms", name: "95th percentile", style: "second" },
    ],
    say: time,
    least: 0.001,
    mayBeLog: true,
  },
  {
    title: "Time to accept a message",
    lines: [
      { field: "accept_p50_ms", name: "median", style: "first" },
      { field: "accept_p95_ms", name: "95th percentile", style: "second" },
    ],
    say: time,
    least: 0.001,
    mayBeLog: true,
  },
  {
    title: "Dead letters",
    lines: [{ field: "dead_letters", name: "kept", style: "bad" }],
    say: number,
    least: 5,
  },
  {
    title: "Log on the disk",
    lines: [{ field: "log_bytes", name: "log", style: "first" }],
    say: size,
    least: 1024 * 1024,
    isBinary: true,
  },
];

/** What the cards say of the overview and the past, where they lead, and when they are red. */
const CARDS = [
  {
    title: "Waiting",
    address: () => "#/messages",
    text: ({ waiting }) => count(waiting.count),
    detail: ({ waiting }) =>
      waiting.oldest_at === null ? "nothing waits" : `oldest ${distance(waiting.oldest_at)}`,
  },
  {
    title: "Failing destinations",
    address: ({ lanes }) => addressOf("lanes", { state: lanes.failing ? "failing" : "" }),
    text: ({ lanes }) => count(lanes.failing),
    detail: ({ lanes }) => `of ${count(lanes.total)}${lanes.held ? `; ${count(lanes.held)} held` : ""}`,
    isBad: ({ lanes }) => lanes.failing > 0,
  },
  {
    title: "Dead letters",
    address: () => "#/dead-letters",
    text: ({ dead }) => count(dead.count),
    detail: ({ dead }) => (dead.last.length ? `last ${distance(dead.last[0].dead_at)}` : "none of late"),
  },
  {
    title: "Accepted",
    address: () => addressOf("events", { kind: "accepted" }),
    text: (overview, past) => perSecond(past && newest(past.series.accepted)),
    detail: (overview, past) => within("answered in", past, "accept_p50_ms"),
  },
  {
    title: "Delivered",
    address: () => addressOf("events", { kind: "delivered" }),
    text: (overview, past) => perSecond(past && newest(past.series.delivered)),
    detail: (overview, past) => within("attempts take", past, "attempt_p50_ms"),
  },
  {
    title: "Free disk",
    address: () => null,
    text: ({ disk }) => bytes(disk.free_bytes),
    detail: ({ disk }) =>
      disk.full_in_s === null
        ? `log has ${bytes(disk.log_bytes)}`
        : `full in ${duration(disk.full_in_s)}`,
    isBad: ({ disk, problems }) =>
      (disk.full_in_s !== null && disk.full_in_s < 86_400) ||
      problems.some(({ slug }) => slug === "disk_full"),
  },
  {
    title: "Function calls",
    address: () => "#/calls",
    text: ({ calls }) => count(sum(calls, UNDER_WAY)),
    detail: ({ calls }) => `${count(calls.suspended)} suspended`,
    isShown: ({ calls }) => calls !== null && Object.values(calls).some((value) => value > 0),
  },
];

/** Fill the section, and keep it up to date. */
export function overview(poll) {
  const view = new Overview();
  poll.listen(({ overview: seen }) => view.update(seen));
  return { show: (address) => view.show(address) };
}

class Overview {
  constructor() {
    this.signal = null;
    this.seen = null;
    this.past = null;
    this.isBusy = false;
    this.drawn = {}; // texts of what is drawn, so that what is the same is left alone
    this.cards = CARDS.map((card) => makeCard(card));
    byId("figures").append(...this.cards.map(({ element }) => element));
    const pointer = new Pointer();
    this.charts = CHARTS.map((chart) => new Chart(chart, pointer));
    byId("charts").append(...this.charts.map(({ element }) => element));
    this.members = new Members();
  }

  show({ signal }) {
    this.signal = signal;
    this.load();
    if (this.seen !== null) this.members.follow(this.seen, signal);
  }

  update(seen) {
    this.seen = seen;
    this.once("problems", seen && JSON.stringify(seen.problems), () =>
      swap(byId("problems"), seen === null ? [] : [problemList(seen.problems)]),
    );
    for (const card of this.cards) card.show(seen, this.past);
    if (this.isShown) this.members.follow(seen, this.signal);
    if (seen === null) return;
    // "3 min ago" changes also where nothing else does.
    swap(byId("last-dead"), lastDead(seen.dead));
    this.once("about", JSON.stringify([seen.instance, seen.version, seen.started_at]), () =>
      byId("about").replaceChildren(...about(seen)),
    );
    this.loadIfDue();
  }

  get isShown() {
    return this.signal !== null && !this.signal.aborted;
  }

  once(name, text, act) {
    if (this.drawn[name] === text) return;
    this.drawn[name] = text;
    act();
  }

  // The server adds a step every `stepS`; then, and not before, there is something new.
  loadIfDue() {
    const isDue = this.past === null || performance.now() - this.readAt >= this.past.stepS * 1000;
    if (this.isShown && isDue && !this.isBusy) this.load();
  }

  async load() {
    const { signal } = this;
    this.isBusy = true;
    try {
      this.past = pastOf(await call("v1/history", { signal }));
      this.readAt = performance.now();
      for (const chart of this.charts) chart.show(this.past);
      for (const card of this.cards) card.show(this.seen, this.past);
    } catch (error) {
      // The state of the server says why, and the next look asks again.
      if (!isOurs(error, signal)) this.past = null;
    } finally {
      this.isBusy = false;
    }
  }
}

/** What usually takes so long, as the last step that measured it says. */
function within(words, past, field) {
  const seconds = past && newest(past.series[field]);
  return isKnown(seconds) ? `${words} ${duration(seconds)}` : "\u00a0";
}

function makeCard({ title, address, text, detail, isBad = () => false, isShown = () => true }) {
  const big = h("span", { class: "big" }, NONE);
  const small = h("small", {}, "\u00a0");
  const name = h("span", { class: "name" }, title);
  const leads = address({ lanes: {} }) !== null;
  const element = h(leads ? "a" : "div", { class: "card figure" }, name, big, small);
  return {
    element,
    show(overview, past) {
      if (overview !== null) element.hidden = !isShown(overview);
      if (element.hidden) return;
      setText(big, overview === null ? NONE : text(overview, past));
      setText(small, overview === null ? "\u00a0" : detail(overview, past));
      if (overview === null) return;
      element.classList.toggle("bad", isBad(overview));
      if (leads && element.getAttribute("href") !== address(overview)) {
        element.setAttribute("href", address(overview));
      }
    },
  };
}

function lastDead({ last }) {
  if (last.length === 0) return [h("p", { class: "empty" }, "None is left.")];
  return [
    h(
      "ul",
      { class: "lines" },
      ...last.map(({ id, destination, last_error: error, dead_at: at }) =>
        h(
          "li",
          {},
          h("a", { href: `#/messages/${id}` }, h("bdi", { class: "code" }, visible(destination))),
          h("span", {}, lastError(error)),
          h("small", {}, ago(at)),
        ),
      ),
    ),
  ];
}

function about({ instance, version, started_at: startedAt, pid, listen, api_listen: apiListen }) {
  const line = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return [
    line("Instance", h("bdi", {}, visible(instance))),
    line("Version", version),
    line("Started", `${instant(startedAt)} UTC`),
    line("Process", String(pid)),
    line("Callers", listen.join(", ")),
    line("API", apiListen.join(", ")),
  ];
}
