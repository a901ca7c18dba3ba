// The calls of the API: one place that shows the key and that puts failures into words.

// This file is at BASE/dashboard/api.js.
const BASE = new URL("../", import.meta.url);
const KEY = "dispatcher-api-key";
const TIMEOUT_MS = 30_000;

let tellLocked = () => {};

/** What the server refused. `message` is for people and says what to do. */
export class Refused extends Error {
  constructor(status, slug, message) {
    super(message);
    this.status = status;
    this.slug = slug;
  }
}

/** Call a function whenever a key is missing or wrong. */
export function whenLocked(act) {
  tellLocked = act;
}

export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** Keep a key in this tab; null forgets it. */
export function setKey(key) {
  if (key === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key);
}

/** Ask, and return the document of the answer; null where there is none.
 *
 * `timeoutMs` 0 waits as long as it takes. Throws `Refused`, and what fetch throws. */
export async function call(path, { method = "GET", body, signal, timeoutMs = TIMEOUT_MS } = {}) {
  const answer = await open(path, { method, body, signal: ending(signal, timeoutMs) });
  const text = await answer.text();
  return text === "" ? null : JSON.parse(text);
}

/** The address of a path of the API. */
export function here(path) {
  return new URL(path, BASE).href;
}

/** Ask for what is no document: its bytes. */
export async function readBytes(path, { signal, timeoutMs = TIMEOUT_MS } = {}) {
  const answer = await open(path, { signal: ending(signal, timeoutMs) });
  return new Uint8Array(await answer.arrayBuffer());
}

/** Ask for a text. */
export async function readText(path, { signal } = {}) {
  return (await open(path, { signal: ending(signal, TIMEOUT_MS) })).text();
}

/** The server's clock, to the second: ours may be wrong. */
export async function serverTime() {
  const answer = await fetch(new URL("healthz", BASE), { cache: "no-store", credentials: "omit" });
  return new Date(answer.headers.get("Date")).toISOString().replace(/\.\d+Z$/, "Z");
}

/** Whether messages are accepted, and why not: `{isReady, message}`. Needs no key. */
export async function readiness(signal) {
  const answer = await fetch(new URL("readyz", BASE), { signal: ending(signal, TIMEOUT_MS) });
  if (answer.ok) return { isReady: true, message: "" };
  return { isReady: false, message: (await refusal(answer)).message };
}

/** Send a request and return the response, as soon as its head is there. */
export async function open(path, { method = "GET", body, signal } = {}) {
  const headers = new Headers();
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.set("Authorization", `Bearer ${asBytes(key)}`);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  const answer = await fetch(new URL(path, BASE), {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
  });
  if (answer.ok) return answer;
  const refused = await refusal(answer);
  if (refused.status === 401) tellLocked();
  throw refused;
}

/** A failure in words, with what to do. */
export function inWords(error) {
  if (error instanceof Refused) return error.message;
  if (error.name === "TimeoutError") {
    return "The server did not answer in time. Try again; if it stays so, look at its log.";
  }
  if (error instanceof TypeError) {
    return "The server can't be reached. Check that it runs and that the network leads there.";
  }
  return `The answer can't be read (${error.message}). Reload the page.`;
}

/** Whether we ended a call ourselves, which is no failure. */
export function isOurs(error, signal) {
  return error.name === "AbortError" && signal?.aborted === true;
}

async function refusal(answer) {
  try {
    const { error, message } = await answer.json();
    return new Refused(answer.status, error, message);
  } catch {
    // Not from the server itself: something stands between.
    return new Refused(answer.status, "", `The answer was ${answer.status} ${answer.statusText}.`);
  }
}

function ending(signal, timeoutMs) {
  const all = [];
  if (signal) all.push(signal);
  if (timeoutMs > 0) all.push(AbortSignal.timeout(timeoutMs));
  return AbortSignal.any(all);
}

// Headers take one byte a character; the server compares a key's UTF-8.
function asBytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
