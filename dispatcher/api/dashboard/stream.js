// Reads the stream of events, and connects again when it breaks. Not EventSource, which can't show
// a key: fetch, read bit by bit.

import { inWords, isOurs, open, Refused } from "./api.js";
import { duration } from "./format.js";

const SILENCE_MS = 40_000; // the server says something every 15 s
const MOST_WAIT_MS = 15_000;

/** Cut a stream of server-sent events, `{event, data, comment}`, out of pieces of text. */
export class Cutter {
  constructor() {
    this.rest = "";
  }

  cut(piece) {
    const blocks = (this.rest + piece).split("\n\n");
    this.rest = blocks.pop();
    return blocks.map(readBlock);
  }
}

/** Listen until `signal`. `take` is given every block, `tell` what is wrong in words, or null once
 * there is a connection. */
export async function follow(signal, { take, tell }) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    const isOpen = () => {
      failures = 0;
      tell(null);
    };
    const trouble = await listen(signal, isOpen, take);
    if (signal.aborted || trouble === null) return;
    const waitMs = Math.min(1000 * 2 ** failures, MOST_WAIT_MS);
    tell(`${trouble} Listening again in ${duration(waitMs / 1000)}.`);
    await sleep(waitMs, signal);
  }
}

/** Read one stream to its end; what went wrong, null when nobody wants more. */
async function listen(signal, tellOpen, take) {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const answer = await open("v1/events", { signal: AbortSignal.any([signal, silence.signal]) });
    tellOpen();
    const cutter = new Cutter();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "The server ended the stream.";
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      for (const block of cutter.cut(value)) take(block);
    }
  } catch (error) {
    if (isOurs(error, signal) || (error instanceof Refused && error.status === 401)) return null;
    return silence.signal.aborted ? "The server fell silent." : inWords(error);
  } finally {
    clearTimeout(timer);
  }
}

function readBlock(block) {
  const found = { event: "", data: "", comment: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon) || "comment";
    if (name in found) found[name] += line.slice(colon + 1).replace(/^ /, "");
  }
  return found;
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", resolve);
  });
}
