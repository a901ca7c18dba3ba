// The section of jobs: how far each is, at what rate, and what was asked for.

import { call, inWords, isOurs } from "./api.js";
import { Asking } from "./asking.js";
import { ask } from "./dialog.js";
import { arrange, byId, h, setText, table } from "./dom.js";
import { bytes, count, distance, duration, visible } from "./format.js";
import { notify } from "./notice.js";
import { button } from "./values.js";

const KINDS = { running: "", done: "good", failed: "bad", cancelled: "warn" };
const COLUMNS = [
  { title: "Job", isHeader: true, isTight: true },
  { title: "State", isTight: true },
  { title: "Progress", isWide: true },
  { title: "Rate", isTight: true },
  { title: "What", isWide: true },
  { title: "Begun", isTight: true },
  { title: h("span", { class: "unseen" }, "Actions"), label: "", isActions: true },
];

/** Fill the section, and keep it up to date while it is shown. */
export function jobs(poll) {
  const view = new Jobs();
  poll.listen(({ overview }) => overview && view.follow());
  return { show: (address) => view.show(address) };
}

class Jobs {
  constructor() {
    this.signal = null; // of the section while it is shown
    this.asking = new Asking();
    this.rows = new Map(); // by id
    this.drawn = table("Jobs that run, and the last ones that have ended, the newest first", COLUMNS);
    this.drawn.element.hidden = true;
    byId("jobs-result").append(this.drawn.element);
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
      () => call("v1/jobs", { signal }),
      ({ items }) => this.draw(items),
      (error) => isOurs(error, signal) || setText(byId("jobs-status"), inWords(error)),
    );
  }

  draw(items) {
    setText(byId("jobs-status"), "");
    const none = "No job has run since the server started, or all of them are long ago.";
    setText(byId("jobs-note"), items.length ? "" : none);
    this.drawn.element.hidden = items.length === 0;
    const rows = items.map((job) => this.rowOf(job));
    arrange(this.drawn.body, this.rows, items.map(({ id }) => id), rows);
  }

  rowOf(job) {
    const row = this.rows.get(job.id) ?? makeRow(this.drawn, job, () => this.load());
    this.rows.set(job.id, row);
    row.show(job);
    return row;
  }
}

function makeRow(drawn, first, changed) {
  let job = first;
  const parts = {
    state: h("span"),
    bar: h("progress", { "aria-label": `Progress of job ${first.id}` }),
    told: h("small"),
    rate: h("span"),
    begun: h("span"),
    change: button("Change rate", () => changeRate(job, changed), {
      kind: "small",
      label: `Change the rate of job ${first.id}`,
    }),
    cancel: button("Cancel", () => cancel(job, changed), {
      kind: "small danger-text",
      label: `Cancel job ${first.id}`,
    }),
  };
  const element = drawn.row([
    h("span", { class: "two-lines" }, h("strong", {}, first.kind), h("small", { class: "code" }, first.id)),
    parts.state,
    h("div", { class: "progress" }, parts.bar, parts.told),
    parts.rate,
    h("bdi", { class: "code" }, visible(selectionInWords(first.selection))),
    h("span", { class: "two-lines" }, parts.begun, first.key ? h("small", {}, `by ${visible(first.key)}`) : null),
    h("div", { class: "row-buttons" }, parts.change, parts.cancel),
  ]);
  return {
    element,
    show(next) {
      job = next;
      fill(parts, next);
    },
  };
}

function fill(parts, job) {
  const isRunning = job.state === "running";
  parts.state.className = `tag ${KINDS[job.state] ?? ""}`;
  setText(parts.state, job.state);
  setBar(parts.bar, job);
  setText(parts.told, progressInWords(job));
  setText(parts.rate, job.rate ?? "no limit");
  setText(parts.begun, distance(job.started_at));
  parts.begun.title = job.started_at;
  parts.change.hidden = !isRunning || !job.has_rate;
  parts.cancel.hidden = !isRunning;
}

/** A bar that is at its end where nothing is left to be done. */
function setBar(bar, { done, skipped, total, state }) {
  if (total === null && state === "running") bar.removeAttribute("value"); // nobody knows how far
  else {
    bar.max = Math.max(1, total ?? 1);
    bar.value = total === null ? 1 : done + skipped;
  }
}

function progressInWords(job) {
  const { done, skipped, total, unit, state, message } = job;
  const say = unit === "bytes" ? bytes : count;
  const all = total === null ? "" : ` of ${say(total)}`;
  const noun = unit === "bytes" ? "" : ` ${unit}`;
  const parts = [`${say(done)}${all}${noun}`];
  if (skipped) parts.push(`${count(skipped)} skipped`);
  if (state === "running") parts.push(...leftInWords(job));
  if (message) parts.push(visible(message));
  return parts.join("; ");
}

/** How long it will take at the speed it has had. */
function leftInWords({ done, skipped, total, started_at: startedAt }) {
  const seconds = (Date.now() - Date.parse(startedAt)) / 1000;
  const passed = done + skipped;
  if (total === null || passed === 0 || seconds < 5) return [];
  return [`about ${duration(Math.max(1, ((total - passed) / passed) * seconds))} left`];
}

/** What a job is about, or what an entry of the audit tells: `destination=… label=…`. */
export function selectionInWords(selection) {
  return Object.entries(selection)
    .map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(",") : value}`)
    .join(" ");
}

async function changeRate(job, changed) {
  const input = h("input", { id: "job-rate", class: "code", spellcheck: "false", value: job.rate ?? "" });
  const field = h(
    "div",
    { class: "field" },
    h("label", { for: "job-rate" }, "At most, as 5/s or 10/1m (empty: no limit)"),
    input,
  );
  const isDone = await ask({
    title: `Change the rate of job ${job.id}?`,
    text: [`It goes on with the new rate at once.`, field],
    confirm: "Change the rate",
    act: async () => {
      const text = input.value.trim();
      const rate = /^\d+$/.test(text) ? Number(text) : text || "none";
      const { rate: now } = await call(`v1/jobs/${job.id}`, { method: "PATCH", body: { rate } });
      notify(now === null ? `Job ${job.id} has no limit now.` : `Job ${job.id} does ${now} at most now.`);
    },
  });
  if (isDone) changed();
}

async function cancel(job, changed) {
  const isDone = await ask({
    title: `Cancel job ${job.id}?`,
    text: ["What it has done until then stays done; the rest is left as it is."],
    confirm: "Cancel the job",
    dismiss: "Let it run",
    isDanger: true,
    act: async () => {
      const { state } = await call(`v1/jobs/${job.id}`, { method: "DELETE", timeoutMs: 0 });
      notify(`Job ${job.id}: ${state}.`);
    },
  });
  if (isDone) changed();
}
