// The events that were heard last, and which of them a filter wants. Pure.

/** How many are kept. Filters look at all of them, so that typing brings back what is there. */
export const MOST_KEPT = 2000;

/** What was heard, the oldest first. While it is held, what comes is kept aside. */
export class Recent {
  constructor(most = MOST_KEPT) {
    this.most = most;
    this.shown = [];
    this.aside = [];
    this.isHeld = false;
    this.missed = 0; // came while it was held, and are no longer kept
  }

  /** Add what came: `{event, fields}`, or `{dropped}` and `{gap}`, which no filter leaves out. */
  add(entry) {
    const place = this.isHeld ? this.aside : this.shown;
    place.push(entry);
    if (place.length <= this.most) return;
    place.shift();
    if (this.isHeld) this.missed += 1;
  }

  hold() {
    this.isHeld = true;
  }

  /** Show what came meanwhile behind what was there. */
  resume() {
    const lost = this.missed === 0 ? [] : [{ dropped: this.missed }];
    this.shown = [...this.shown, ...lost, ...this.aside].slice(-this.most);
    this.aside = [];
    this.missed = 0;
    this.isHeld = false;
  }

  clear() {
    this.shown = [];
    this.aside = [];
    this.missed = 0;
  }

  /** How many came while it was held. */
  get waiting() {
    return this.aside.length + this.missed;
  }

  /** Those that are wanted, the newest first, `most` of them. */
  matching(wanted, most) {
    const found = [];
    for (let at = this.shown.length - 1; at >= 0 && found.length < most; at -= 1) {
      if (isWanted(this.shown[at], wanted)) found.push(this.shown[at]);
    }
    return found;
  }
}

/** Whether an entry passes a filter `{kind, destination, text}`; empty ones let everything pass. */
export function isWanted(entry, { kind = "", destination = "", text = "" }) {
  if (!entry.fields) return true;
  return (
    isOfKind(entry, kind) && has(entry.fields.destination, destination) && isAbout(entry.fields, text)
  );
}

function isOfKind({ event, fields }, kind) {
  if (kind === "call") return isCall(event);
  if (kind === "failed") return event === "attempted" && hasFailed(fields);
  return kind === "" || kind === event;
}

/** Whether an attempt came to something else than a delivery. */
export function hasFailed({ status, error }) {
  return status === null || status >= 300 || error !== null;
}

export function isCall(event) {
  return event.startsWith("call.");
}

function isAbout({ id, function: name, label, target }, text) {
  const isId = id.startsWith(text.trim().toLowerCase());
  return isId || has(name, text) || has(label, text) || has(target, text);
}

function has(value, text) {
  return (value ?? "").toLowerCase().includes(text.trim().toLowerCase());
}
