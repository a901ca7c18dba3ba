// The last hour as charts draw it, of what /v1/history says. Pure.

// These are numbers of a step, and shown as so many a second.
const COUNTED = ["accepted", "delivered", "dead", "attempts_failed", "refused"];
const TIMED = ["accept_p50_ms", "accept_p95_ms", "attempt_p50_ms", "attempt_p95_ms"];

// Of a server that has just begun a chart shows as many steps: of an hour nobody could see the end.
const LEAST = 60;

/** `{stepS, endsAtMs, length, series}`: counts become rates a second, milliseconds seconds. It begins
 * where something is known. */
export function pastOf({ step_s: stepS, ends_at: endsAt, series: all }) {
  const series = fromFirstKnown(all);
  const found = { ...series };
  for (const name of COUNTED) found[name] = scaled(series[name], 1 / stepS);
  for (const name of TIMED) found[name] = scaled(series[name], 1 / 1000);
  return { stepS, endsAtMs: Date.parse(endsAt), length: series.accepted.length, series: found };
}

function fromFirstKnown(series) {
  const { length } = series.accepted;
  const firsts = Object.values(series).map((values) => values.findIndex((value) => value !== null));
  const first = Math.min(...firsts.filter((at) => at >= 0), length);
  const begin = Math.max(0, Math.min(first, length - LEAST));
  return Object.fromEntries(Object.entries(series).map(([name, values]) => [name, values.slice(begin)]));
}

/** The newest of values that is known; null where none is. */
export function newest(values) {
  return values.findLast((value) => value !== null) ?? null;
}

function scaled(values, by) {
  return (values ?? []).map((value) => (value === null ? null : value * by));
}
