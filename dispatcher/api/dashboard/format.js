// Figures, instants and slugs in words. Pure.

const WHOLE = new Intl.NumberFormat("en");
const ROUND = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact" });
const NONE = "–";

const FAILURES = {
  connection_failed: "no connection",
  dns_failed: "host not found",
  tls_failed: "TLS failed",
  timeout: "timed out",
  broken_response: "broken response",
  egress_denied: "refused by the egress rules",
  expired: "waited too long",
  temporary_error: "temporary error",
  permanent_error: "permanent error",
  throttled: "throttled",
  invalid_argument: "invalid argument",
  invalid_response: "invalid response",
  incompatible_state: "state does not fit the code",
  dns_error: "DNS error",
  tcp_error: "TCP error",
  tls_error: "TLS error",
  http_error: "HTTP error",
  unauthenticated: "unauthenticated",
  permission_denied: "permission denied",
  not_found: "not found",
};

const REASONS = {
  retries_exhausted: "retries exhausted",
  rejected: "rejected for good",
  egress_denied: "not allowed to connect",
  operator: "given up by an operator",
  expired: "waited longer than MAX_AGE",
  failed: "the function failed",
};

/** How states of calls look. */
export const CALL_KINDS = {
  succeeded: "good",
  failed: "bad",
  expired: "bad",
  cancelled: "warn",
  scheduled: "warn",
};

// Controls, and what turns the direction of text around: shown, so that they can't hide anything.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/** 12,345 */
export function count(number) {
  return WHOLE.format(number);
}

/** 12,345 where there is little room: "12K". */
export function compact(number) {
  return SHORT.format(number);
}

/** "1 dead letter", "2 dead letters" */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** Messages a second; a dash where it is not known. */
export function rate(number) {
  if (number === null || number === undefined) return NONE;
  return number < 10 ? String(Math.round(number * 10) / 10) : count(Math.round(number));
}

/** A time in seconds, as people say it. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds === 0) return "0";
  if (seconds < 0.001) return `${ROUND.format(seconds * 1e6)} µs`;
  if (seconds < 1) return `${ROUND.format(seconds * 1000)} ms`;
  if (seconds < 60) return `${ROUND.format(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function bytes(number) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let left = number;
  while (left >= 1024 && unit < units.length - 1) {
    left /= 1024;
    unit += 1;
  }
  if (unit === 0) return plural(number, "byte");
  return `${left < 10 ? left.toFixed(1) : Math.round(left)} ${units[unit]}`;
}

/** 2026-01-31 12:00:00 of an instant of the API; UTC, as in the logs. */
export function instant(text) {
  return text.slice(0, 19).replace("T", " ");
}

/** 12:00:00 of milliseconds since the epoch, in UTC. */
export function clock(milliseconds) {
  return new Date(milliseconds).toISOString().slice(11, 19);
}

/** How far an instant is from now: "3 min ago", "in 20 s". */
export function distance(text, now = Date.now()) {
  const seconds = (Date.parse(text) - now) / 1000;
  const far = Math.max(1, Math.round(Math.abs(seconds)));
  return seconds > 0 ? `in ${duration(far)}` : `${duration(far)} ago`;
}

/** The instant one microsecond later: "before" that is up to and with the first. */
export function justAfter(text) {
  const [whole, fraction] = text.replace("Z", "").split(".");
  const micros = Number((fraction ?? "").padEnd(6, "0")) + 1;
  if (micros < 1_000_000) return `${whole}.${String(micros).padStart(6, "0")}Z`;
  return new Date(Date.parse(`${whole}Z`) + 1000).toISOString().replace(/\.\d+Z$/, ".000000Z");
}

/** What the last attempt came to: its status, and its failure if `error` is not `http_503`. */
export function outcome(status, error) {
  const failed = error !== null && error !== `http_${status}`;
  const failure = failed ? (FAILURES[error] ?? error) : null;
  if (status === null) return failure ?? "no attempt";
  return failure === null ? `HTTP ${status}` : `HTTP ${status}, ${failure}`;
}

/** Why a message, or a call, is dead. */
export function reason(slug, kind = "message") {
  if (kind === "call" && slug === "expired") return "its expiration passed";
  return REASONS[slug] ?? slug;
}

/** What a dead letter asked for: method and address, or the function of a call. */
export function asked({ kind, function: name, method, target, destination }) {
  if (kind === "call") return `call ${name} at ${destination}`;
  // `OPTIONS *` is about the whole destination.
  return `${method} ${target === "*" ? destination : `${destination}${target}`}`;
}

/** `last_error` of a message: a slug, or `http_503`. */
export function lastError(slug) {
  if (slug === null) return null;
  return /^http_\d+$/.test(slug) ? `HTTP ${slug.slice(5)}` : (FAILURES[slug] ?? slug);
}

const STANDINGS = {
  destination_held: "held",
  breaker_open: "backs off",
  retry_after: "backs off",
  lacking: "backs off",
  rate_reached: "rate",
  order_key: "order key",
  flow_key: "flow key",
};

/** The state of a message, or what its destination or a key of it does in the way of it: in the words
 * of lanes, as the command line has them. */
export function standing({ state, reason, until }) {
  if (reason === "breaker_open" && until === null) return "probing";
  return STANDINGS[reason] ?? state;
}

/** An entry of a call's timeline, without its step. */
export function stepInWords({ step, attempt, duration_ms: took, status, error, next_at, count: of }) {
  const next = (words) => (next_at === null ? "" : `${words} ${instant(next_at)} UTC`);
  switch (step) {
    case "run": {
      const came = FAILURES[status] ?? status ?? "no answer";
      const why = error === null || error === status ? "" : `: ${lastError(error)}`;
      return `attempt ${attempt}: ${came} in ${duration(took / 1000)}${next(", again at")}${why}`;
    }
    case "suspended":
      return of ? `waits for ${plural(of, "call")}${next(", until")}` : `sleeps${next(" until")}`;
    case "resumed":
      return `with ${plural(of ?? 0, "result")}`;
    default:
      return status ?? "";
  }
}

/** A stranger's text with everything in it that can't be seen spelled out. */
export function visible(text) {
  return text.replace(UNSEEN, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}
