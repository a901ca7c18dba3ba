// What operators do with messages that wait: with one after a question, with many after a count too.

import { call, inWords } from "./api.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { plural } from "./format.js";
import { notify } from "./notice.js";

/** By the last part of the path. `field` is how many it was, in the answer. */
const ACTIONS = {
  retry: {
    verb: "Retry now",
    field: "retried",
    effect:
      "What waits for a time is due at once. A destination that is held or backs off is not sent " +
      "to any sooner: for that, retry its destination.",
    done: (number) => `${plural(number, "message")} due now.`,
  },
  cancel: {
    verb: "Cancel",
    field: "cancelled",
    effect: "What is cancelled is never delivered. This can't be taken back.",
    done: (number) => `${plural(number, "message")} cancelled.`,
    isDanger: true,
  },
  "dead-letter": {
    verb: "Give up",
    field: "dead_lettered",
    effect: "What is given up is kept among the dead letters, until it is redriven or purged.",
    done: (number) => `${plural(number, "message")} moved to the dead letters.`,
  },
  redirect: {
    verb: "Redirect",
    field: "redirected",
    effect: "What is redirected is sent there instead, with fresh attempts.",
    done: (number) => `${plural(number, "message")} redirected.`,
    hasTarget: true,
  },
};

/** Do something with the messages that `which` selects, as the API has it; true once it was done.
 *
 * `where` says in words which they are. They are counted first, which changes nothing. */
export async function actOnMany(name, which, where) {
  const action = ACTIONS[name];
  const target = action.hasTarget ? targetField() : null;
  try {
    const counted = await count(name, which);
    const number = counted[ACTIONS[counter(name)].field];
    if (number === 0) {
      notify(`None of them can be chosen for that.${leftAlone(counted)}`);
      return true;
    }
    return await ask({
      title: `${action.verb}: ${plural(number, "message")}?`,
      text: [where, action.effect + leftAlone(counted), ...(target ? [target.element] : [])],
      confirm: `${action.verb}: ${plural(number, "message")}`,
      dismiss: "Leave them",
      isDanger: action.isDanger,
      act: async () => {
        const body = { ...which, ...target?.value() };
        // Of very many it takes long.
        const answer = await call(`v1/messages/${name}`, { method: "POST", body, timeoutMs: 0 });
        notify(action.done(answer[action.field]) + leftAlone(answer));
      },
    });
  } catch (error) {
    notify(inWords(error), "bad");
    return false;
  }
}

/** Do something with one message; true once it was done. */
export function actOnOne(name, id) {
  const action = ACTIONS[name];
  const target = action.hasTarget ? targetField() : null;
  return ask({
    title: `${action.verb}: this message?`,
    text: [h("p", { class: "code" }, id), action.effect, ...(target ? [target.element] : [])],
    confirm: `${action.verb}: 1 message`,
    dismiss: "Leave it",
    isDanger: action.isDanger,
    act: async () => {
      if (name === "cancel") await call(`v1/messages/${id}`, { method: "DELETE" });
      else await call(`v1/messages/${id}/${name}`, { method: "POST", body: target?.value() });
      notify(action.done(1));
    },
  });
}

/** How many it would be; nothing is changed. */
function count(name, which) {
  const body = { ...which, dry_run: true };
  return call(`v1/messages/${counter(name)}`, { method: "POST", body });
}

// Where they go to is not known yet when they are counted: those are redirected that can be given up.
function counter(name) {
  return name === "redirect" ? "dead-letter" : name;
}

/** Let one message be due at once. That takes nothing away, so nothing is asked. */
export async function retryOne(id) {
  try {
    const { message } = await call(`v1/messages/${id}/retry`, { method: "POST" });
    notify(message);
  } catch (error) {
    notify(inWords(error), "bad");
  }
}

/** What of those selected an action leaves as it is, and why. */
function leftAlone({ due = 0, in_flight: inFlight = 0, not_found: missing = [] }) {
  const parts = [];
  if (due) parts.push(`${plural(due, "message")} due anyway`);
  if (inFlight) parts.push(`${plural(inFlight, "message")} in flight`);
  if (missing.length) parts.push(`${plural(missing.length, "message")} no longer waiting`);
  return parts.length ? ` Left alone: ${parts.join(", ")}.` : "";
}

function targetField() {
  const input = h("input", {
    id: "redirect-to",
    class: "code",
    required: true,
    spellcheck: "false",
    autocapitalize: "off",
    "aria-describedby": "redirect-note",
  });
  const label = h("label", { for: "redirect-to" }, "New destination");
  const note = h("small", { id: "redirect-note" }, "scheme, host and port, as the page of destinations has it");
  const element = h("div", { class: "field" }, label, input, note);
  return { element, value: () => ({ to: input.value.trim() }) };
}
