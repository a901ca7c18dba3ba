// Looks at the server every two seconds while somebody can see it.

import { call, inWords, readiness, Refused } from "./api.js";

const INTERVAL_MS = 2000;

/** Tells those who asked of every look: `{overview, health}`, `overview` null when it failed. */
export class Poll {
  constructor() {
    this.overview = null;
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
    }
  }

  async look() {
    const { signal } = this.running;
    const seen = await see(signal);
    if (signal.aborted) return;
    this.overview = seen.overview;
    for (const listener of this.listeners) listener(seen);
    clearTimeout(this.timer);
    // Asking only after the last answer: a slow server is not asked faster than it answers.
    this.timer = setTimeout(() => this.look(), INTERVAL_MS);
  }
}

async function see(signal) {
  const [overview, health] = await Promise.allSettled([
    call("v1/overview", { signal }),
    readiness(signal),
  ]);
  return { overview: overview.value ?? null, health: healthOf(overview, health) };
}

function healthOf(overview, health) {
  if (health.reason) return { kind: "bad", text: inWords(health.reason) };
  if (!health.value.isReady) return { kind: "bad", text: health.value.message };
  if (overview.reason && !(overview.reason instanceof Refused && overview.reason.status === 401)) {
    return { kind: "bad", text: inWords(overview.reason) };
  }
  return { kind: "good", text: "Ready" };
}
