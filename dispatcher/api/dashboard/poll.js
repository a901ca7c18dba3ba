// Looks at the server every two seconds while somebody can see it.

import { call, inWords, metrics, readiness, Refused } from "./api.js";
import { readBuckets, Series } from "./series.js";

const INTERVAL_MS = 2000;

/** Tells those who asked of every look: `{stats, health, series}`, `stats` null when it failed. */
export class Poll {
  constructor() {
    this.series = new Series();
    this.stats = null;
    this.listeners = [];
    this.timer = null;
    this.running = null;
    document.addEventListener("visibilitychange", () => this.follow());
  }

  /** Be told of every look from now on. */
  listen(listener) {
    this.listeners.push(listener);
  }

  /** Begin, and go on while the tab is seen. Idempotent. */
  start() {
    this.isWanted = true;
    this.follow();
  }

  stop() {
    this.isWanted = false;
    this.follow();
  }

  /** Look now, not at the end of the interval: something was changed. */
  soon() {
    if (this.running) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.look(), 0);
    }
  }

  follow() {
    const isSeen = this.isWanted && !document.hidden;
    if (isSeen && !this.running) {
      this.running = new AbortController();
      this.look();
    } else if (!isSeen && this.running) {
      this.running.abort();
      this.running = null;
      clearTimeout(this.timer);
      this.series.interrupt(performance.now());
    }
  }

  async look() {
    const { signal } = this.running;
    const seen = await see(signal);
    if (signal.aborted) return;
    if (seen.stats) this.series.add({ at: performance.now(), ...seen });
    else this.series.interrupt(performance.now());
    this.stats = seen.stats;
    for (const listener of this.listeners) listener({ ...seen, series: this.series });
    clearTimeout(this.timer);
    // Asking only after the last answer: a slow server is not asked faster than it answers.
    this.timer = setTimeout(() => this.look(), INTERVAL_MS);
  }
}

async function see(signal) {
  const [stats, text, health] = await Promise.allSettled([
    call("v1/stats?lanes_order=messages", { signal }),
    metrics(signal),
    readiness(signal),
  ]);
  return {
    stats: stats.value ?? null,
    buckets: text.value ? readBuckets(text.value, "dispatcher_delivery_seconds") : null,
    health: healthOf(stats, health),
  };
}

function healthOf(stats, health) {
  if (health.reason) return { kind: "bad", text: inWords(health.reason) };
  if (!health.value.isReady) return { kind: "bad", text: health.value.message };
  if (stats.reason && !(stats.reason instanceof Refused && stats.reason.status === 401)) {
    return { kind: "bad", text: inWords(stats.reason) };
  }
  return { kind: "good", text: "Ready: messages are accepted and the log is healthy." };
}
