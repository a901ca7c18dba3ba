// From totals that grow to what happens a second, and from buckets to latencies. Pure.

export const WINDOW_MS = 180_000;
// Latencies are of the last deliveries: five looks, as there may be few in two seconds.
const LATENCY_LOOKS = 5;

/** The last three minutes. */
export class Series {
  constructor() {
    this.points = [];
    this.looks = [];
  }

  /** Add a look `{at, stats, buckets}`; `at` is in milliseconds, `buckets` may be null. */
  add(look) {
    const last = this.looks.at(-1);
    if (last && isRestart(last.stats, look.stats)) this.looks = [];
    this.points.push(point(this.looks, look));
    this.looks = [...this.looks, look].slice(-LATENCY_LOOKS);
    this.points = this.points.filter((one) => one.at > look.at - WINDOW_MS);
  }

  /** What is not seen leaves a gap, and no rate goes across it. */
  interrupt(at) {
    this.looks = [];
    this.points.push({ at });
  }
}

/** The cumulative buckets `[bound, count]` of a histogram in Prometheus text; null without them. */
export function readBuckets(text, name) {
  const found = [];
  for (const line of text.split("\n")) {
    const match = line.startsWith(name) && /_bucket\{le="([^"]+)"\} (\S+)$/.exec(line);
    if (match) found.push([match[1] === "+Inf" ? Infinity : Number(match[1]), Number(match[2])]);
  }
  return found.length ? found : null;
}

/** The value below which a share of what came between two readings is; null when nothing came. */
export function quantile(share, before, after) {
  if (!before || !after || before.length !== after.length) return null;
  const counts = after.map(([, number], at) => number - before[at][1]);
  const wanted = share * counts.at(-1);
  if (!(wanted > 0)) return null;
  const at = counts.findIndex((number) => number >= wanted);
  const low = at === 0 ? 0 : after[at - 1][0];
  const high = after[at][0];
  if (high === Infinity) return low; // more than that is not known
  const below = at === 0 ? 0 : counts[at - 1];
  return low + ((high - low) * (wanted - below)) / (counts[at] - below);
}

function point(looks, look) {
  const { stats } = look;
  const last = looks.at(-1);
  const first = looks[0];
  const perSecond = (field) =>
    last ? (stats[field] - last.stats[field]) / ((look.at - last.at) / 1000) : null;
  return {
    at: look.at,
    accepted: perSecond("accepted_total"),
    delivered: perSecond("delivered_total"),
    dead: perSecond("dead_total"),
    median: quantile(0.5, first?.buckets, look.buckets),
    p95: quantile(0.95, first?.buckets, look.buckets),
    ready: stats.ready,
    scheduled: stats.scheduled,
    inFlight: stats.in_flight,
  };
}

function isRestart(before, after) {
  return ["accepted_total", "delivered_total", "dead_total"].some(
    (field) => after[field] < before[field],
  );
}
