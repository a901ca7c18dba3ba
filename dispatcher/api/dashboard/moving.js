// Redrive and purge dead letters: count first, ask, then do exactly that.

import { call, inWords, serverTime } from "./api.js";
import { needsLetters } from "./deadfilter.js";
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { justAfter, outcome, plural, reason, visible } from "./format.js";
import { notify } from "./notice.js";

const MOST_LINES = 5;
const WORDS = {
  redrive: {
    verb: "Redrive",
    done: (number) => `${plural(number, "dead letter")} redriven: ready again, attempts from 1.`,
    field: "redriven",
    effect: "They are sent again under the same ids, with attempts from 1.",
  },
  purge: {
    verb: "Purge",
    done: (number) => `${plural(number, "dead letter")} purged.`,
    field: "purged",
    effect: "They are gone for good, and are never delivered. This can't be taken back.",
  },
};

/** Redrive or purge those of a filter (`deadfilter.FILTERS`); without any: all.
 *
 * True once it was done. What dies after the count is not touched. */
export async function moveMany(kind, filter, where) {
  try {
    const groups = needsLetters(filter) ? null : await groupsOf(filter);
    if (groups?.length === 0) return nothing();
    // Instants of the server's own clock: ours may be wrong.
    const before = groups === null ? await serverTime() : justAfter(newestOf(groups));
    return await confirmMany(kind, selection(filter, before), groups ?? [], where);
  } catch (error) {
    notify(inWords(error), "bad");
    return false;
  }
}

function nothing() {
  notify("There are no such dead letters any more.");
  return true;
}

async function groupsOf(filter) {
  return (await call(`v1/dead-letters/groups?${new URLSearchParams(filter)}`)).items;
}

function newestOf(groups) {
  return groups
    .map((group) => group.newest)
    .reduce((one, other) => (one > other ? one : other));
}

/** Redrive one, at once. */
export async function redriveOne(id) {
  const answer = await call(`v1/dead-letters/${id}/redrive`, { method: "POST" });
  notify(WORDS.redrive.done(answer.redriven));
}

/** Purge one, after a question; true once it was done. */
export function purgeOne(id) {
  return ask({
    title: "Purge this dead letter?",
    text: [
      h("p", { class: "code" }, id),
      "It is gone for good, and is never delivered. This can't be taken back.",
    ],
    confirm: "Purge 1 dead letter",
    isDanger: true,
    act: async () => {
      await call(`v1/dead-letters/${id}`, { method: "DELETE" });
      notify(WORDS.purge.done(1));
    },
  });
}

async function confirmMany(kind, which, groups, where) {
  const words = WORDS[kind];
  const path = `v1/dead-letters/${kind}`;
  const counted = await call(path, { method: "POST", body: { ...which, dry_run: true } });
  const number = counted[words.field];
  if (number === 0) return nothing();
  const rate = kind === "redrive" ? rateField() : null;
  return ask({
    title: `${words.verb} ${plural(number, "dead letter")}?`,
    text: [where, ...parts(groups), words.effect, ...(rate ? [rate.element] : [])],
    confirm: `${words.verb} ${plural(number, "dead letter")}`,
    isDanger: kind === "purge",
    act: async () => {
      const body = { ...which, ...rate?.value() };
      // A rate makes it take long.
      const answer = await call(path, { method: "POST", body, timeoutMs: 0 });
      const done = words.done(answer[words.field]);
      const failed = answer.failed?.length ?? 0;
      const unserved = answer.unserved?.length ?? 0;
      if (unserved) notify(`${done} Function calls that nobody here serves: ${unserved}.`, "bad");
      else if (failed) notify(`${done} Unreadable, and still there: ${failed}.`, "bad");
      else notify(done);
    },
  });
}

/** What the API selects by; `before` is not after what the filter itself says. */
function selection(filter, before) {
  const which = "destination" in filter ? { ...filter } : { ...filter, all: true };
  if (which.status !== undefined) which.status = Number(which.status);
  const isEarlier = filter.before !== undefined && Date.parse(filter.before) < Date.parse(before);
  return { ...which, before: isEarlier ? filter.before : before };
}

/** What all goes, where it is more than one group. */
function parts(groups) {
  if (groups.length < 2) return [];
  const line = (group) =>
    `${plural(group.count, "dead letter")} to ${visible(group.destination)}: ${outcome(group.status, group.error)}, ${reason(group.reason, group.kind)}`;
  const left = groups.length - MOST_LINES;
  return [
    h(
      "ul",
      {},
      ...groups.slice(0, MOST_LINES).map((group) => h("li", {}, line(group))),
      left > 0 ? h("li", {}, `and ${plural(left, "smaller group")}`) : null,
    ),
  ];
}

function rateField() {
  const input = h("input", {
    id: "rate",
    type: "number",
    min: 1,
    max: 100000,
    step: 1,
    inputmode: "numeric",
  });
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: "rate" }, "Messages a second at most (empty: as fast as possible)"),
    input,
  );
  return { element, value: () => (input.value === "" ? {} : { rate: Number(input.value) }) };
}
