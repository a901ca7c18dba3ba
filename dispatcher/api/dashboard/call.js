// One function call: what it does, what it came to, the calls under it, and what happened to it.

import { call, Refused } from "./api.js";
import { ask } from "./dialog.js";
import { h, table, tag, terms } from "./dom.js";
import {
  CALL_KINDS,
  count,
  distance,
  instant,
  lastError,
  plural,
  stepInWords,
  visible,
} from "./format.js";
import { bodyParts, fromBase64 } from "./body.js";
import { notify } from "./notice.js";

const MOST_NODES = 200;
const MOST_DEPTH = 12;
const MOST_TEXT = 64 * 1024;
// The server walks all of a tree for each look: a larger one is read again only when asked for.
const LARGE_TREE = 1000;

/** All about a call: `{call, explanation, result, isDead, tree, timeline}`. `known` is what was read before, of
 * which what may cost much is kept; null reads everything. */
export async function readCall(id, signal, known) {
  const path = `v1/calls/${id}`;
  const isLarge = known !== null && known.tree.total > LARGE_TREE;
  const [found, explanation, timeline] = await Promise.all([
    call(isLarge ? `${path}?tree=false` : path, { signal }),
    call(`${path}/explain`, { signal }),
    call(`${path}/timeline`, { signal }),
  ]);
  const tree = found.tree ?? known.tree;
  // The result of a child is known only to its parent.
  const isRoot = found.parent_id === null;
  const hasFailed = isRoot && (found.state === "failed" || found.state === "expired");
  const [result, letter] = await Promise.all([
    isRoot && found.ended_at !== null ? unless(`${path}/result`, signal) : null,
    hasFailed ? unless(`v1/dead-letters/${id}?body=false`, signal) : null,
  ]);
  return { call: found, explanation, result, isDead: letter !== null, tree, timeline };
}

/** What is at a path; null where it is not, or no more. */
async function unless(path, signal) {
  try {
    return await call(path, { signal });
  } catch (error) {
    if (error instanceof Refused && (error.status === 404 || error.status === 410)) return null;
    throw error;
  }
}

/** The parts of the page about a call; `refresh` reads it again. */
export function callParts({ call: one, explanation, result, isDead, tree, timeline }, refresh) {
  return [
    h("p", { class: "lead" }, h("a", { href: "#/calls" }, "All calls"), ` / ${visible(nameOf(one))}`),
    summary(one, explanation, isDead, refresh),
    one.ended_at !== null && one.parent_id === null ? resultCard(result) : "",
    treeCard(tree),
    timelineCard(timeline),
  ];
}

function summary(one, explanation, isDead, refresh) {
  return h(
    "article",
    { class: "card" },
    h("h3", {}, "Call ", tag(one.state, CALL_KINDS[one.state] ?? "")),
    h("p", { class: "explanation" }, inOneSentence(one)),
    terms([
      ["Why it has not ended", one.ended_at === null ? visible(explanation.message) : null],
      ["Id", h("span", { class: "code" }, one.id)],
      ["Function", code(one.function)],
      ["Endpoint", code(one.endpoint)],
      ["Version", code(one.version)],
      ["Application", code(one.application)],
      ["Called by", one.parent_id === null ? null : link(one.parent_id)],
      ["Root", one.parent_id === null ? null : link(one.root_id)],
      ["Created", at(one.created_at)],
      ["Expires", one.ended_at === null ? at(one.expires_at) : null],
      ["Ended", at(one.ended_at)],
      ["Failed runs since its last step", count(one.attempts)],
      ["Steps", count(one.steps)],
      ["Restarts", one.restarts === 0 ? null : count(one.restarts)],
      ["Last error", lastError(one.last_error)],
    ]),
    h(
      "div",
      { class: "tools" },
      button("Refresh", refresh),
      isDead ? h("a", { class: "button", href: `#/messages/${one.id}` }, "Dead letter") : null,
      ...(one.ended_at === null
        ? [
            button("Cancel call", () => end(one, "cancel", refresh), "danger-text"),
            button("Kill call", () => end(one, "kill", refresh), "danger-text"),
          ]
        : []),
    ),
  );
}

/** What a call does. */
function inOneSentence(one) {
  const until = one.next_run_at === null ? "" : ` ${distance(one.next_run_at)}`;
  switch (one.state) {
    case "ready":
      return "It waits for its turn to be run.";
    case "scheduled":
      return `It is run${until || " later"}.`;
    case "running":
      return "A run is under way.";
    case "suspended": {
      const there = one.results === 0 ? "" : `; ${plural(one.results, "result")} there`;
      if (one.waits_for === 0) return `It sleeps, and is resumed${until || " later"}${there}.`;
      const most = until === "" ? "" : `, and is resumed at the latest${until}`;
      return `It waits for the results of ${plural(one.waits_for, "call")}${there}${most}.`;
    }
    case "outside":
      return "It waits for a value from outside.";
    case "succeeded":
      return "It succeeded.";
    case "failed":
      return "It failed.";
    case "expired":
      return "Its expiration passed.";
    case "cancelled":
      return "It was cancelled.";
    default:
      return "";
  }
}

const MODES = {
  cancel: {
    title: "Cancel this call?",
    effect:
      "It may clean up for a short time, and so may the calls under it; then they end, and their " +
      "callers are told that they were cancelled.",
    confirm: "Cancel the call",
    done: "The call is asked to end.",
  },
  kill: {
    title: "Kill this call?",
    effect:
      "Nothing of it and of the calls under it runs any more, not even to clean up. This can't be " +
      "taken back.",
    confirm: "Kill the call",
    done: "The call is killed.",
  },
};

/** End a call, after a question. */
async function end(one, mode, refresh) {
  const words = MODES[mode];
  const isDone = await ask({
    title: words.title,
    text: [
      h("p", {}, h("bdi", { class: "code" }, visible(one.function)), " ", code(one.id)),
      words.effect,
    ],
    confirm: words.confirm,
    dismiss: "Let it run",
    isDanger: true,
    act: async () => {
      await call(`v1/calls/${one.id}?mode=${mode}`, { method: "DELETE" });
      notify(words.done);
    },
  });
  if (isDone) await refresh();
}

function resultCard(result) {
  if (result === null)
    return card("Result", h("p", { class: "empty" }, "It is no longer kept."));
  const { error, output, output_type: type, output_bytes: data } = result;
  const parts = [];
  if (error !== null) {
    parts.push(
      terms([
        ["Type", code(error.type)],
        ["Message", h("bdi", {}, visible(error.message))],
      ]),
    );
  }
  if (data !== null) parts.push(...bodyParts(fromBase64(data)));
  else if (type !== null) parts.push(...documentParts(output));
  if (type !== null) parts.push(h("p", { class: "hint" }, "Type ", code(type)));
  if (parts.length === 0) parts.push(h("p", { class: "empty" }, "Nothing."));
  return card(error === null ? "Result" : "Error", ...parts);
}

function documentParts(output) {
  const text = visible(JSON.stringify(output, null, 2));
  const label = "Result as JSON";
  return [
    h("pre", { tabindex: "0", role: "region", "aria-label": label }, text.slice(0, MOST_TEXT)),
    text.length > MOST_TEXT ? h("p", { class: "hint" }, "Only its beginning is shown.") : "",
  ];
}

function treeCard({ nodes, total, by_state: states }) {
  if (total < 2) return card("Tree", h("p", { class: "empty" }, "No calls under it are known."));
  const shown = inOrder(nodes).slice(0, MOST_NODES);
  const counts = Object.entries(states).map(([state, number]) => `${count(number)} ${state}`);
  const drawn = table(`${plural(total, "call")}: ${counts.join(", ")}`, [
    { title: "Function", isHeader: true, isWide: true },
    { title: "State" },
    { title: "Id", isWide: true, isTight: true },
    { title: "Created (UTC)", isTight: true },
    { title: "Failed runs", isNumber: true },
    { title: "Last error" },
  ]);
  drawn.body.append(...shown.map(([depth, node]) => drawn.row(nodeCells(depth, node))));
  const hidden = total - shown.length;
  return card(
    "Tree",
    drawn.element,
    hidden > 0 ? h("p", { class: "hint" }, `${plural(hidden, "call")} more not shown.`) : "",
  );
}

/** `[depth, call]` of a tree, of which the first is the top: what was called under who called it,
 * the oldest first. */
export function inOrder(nodes) {
  const ids = new Set(nodes.map((node) => node.id));
  const under = new Map();
  const rest = nodes.slice(1).toSorted((one, other) => (age(one) < age(other) ? 1 : -1));
  for (const node of rest) {
    // A parent that ended long ago may be unknown.
    const parent = ids.has(node.parent_id) ? node.parent_id : nodes[0].id;
    if (!under.has(parent)) under.set(parent, []);
    under.get(parent).push(node);
  }
  const found = [];
  const waiting = [[0, nodes[0]]];
  while (waiting.length > 0) {
    const [depth, node] = waiting.pop();
    found.push([depth, node]);
    for (const child of under.get(node.id) ?? []) waiting.push([depth + 1, child]);
    under.delete(node.id);
  }
  return found;
}

function age(node) {
  return `${node.created_at} ${node.id}`;
}

/** A promise may have no function. */
function nameOf(one) {
  return one.function || one.endpoint;
}

function nodeCells(depth, node) {
  const name = h("bdi", { class: "code" }, visible(nameOf(node)));
  const place = h("span", { class: "depth" }, depth ? unseen(`level ${depth}: `) : null, name);
  place.style.setProperty("--depth", Math.min(depth, MOST_DEPTH));
  return [
    place,
    tag(node.state, CALL_KINDS[node.state] ?? ""),
    link(node.id),
    instant(node.created_at),
    count(node.attempts),
    lastError(node.last_error) ?? "",
  ];
}

function timelineCard({ entries, dropped }) {
  if (entries.length === 0) {
    const none = "Nothing happened to it since the server started, or it is long ago.";
    return card("Timeline", h("p", { class: "empty" }, none));
  }
  const drawn = table("What happened to it since the server started, the oldest first", [
    { title: "Time (UTC)", isHeader: true, isTight: true },
    { title: "Step" },
    { title: "Details", isWide: true },
  ]);
  drawn.body.append(...entries.map((entry) => drawn.row(entryCells(entry))));
  const number = dropped === 1 ? "1 entry" : `${count(dropped)} entries`;
  return card("Timeline", drawn.element, dropped ? h("p", { class: "hint" }, `${number} in the middle not kept.`) : "");
}

function entryCells(entry) {
  const details = stepInWords(entry);
  return [
    h("time", { datetime: entry.at }, `${instant(entry.at)}${entry.at.slice(19, 23)}`),
    tag(entry.step.replace("_", " "), kindOf(entry)),
    details === "" ? "" : h("bdi", {}, visible(details)),
  ];
}

function kindOf({ step, status }) {
  if (step === "ended") return CALL_KINDS[status] ?? "";
  if (step === "restarted" || step === "cancel_asked") return "warn";
  return step === "run" && status !== "ok" ? "warn" : "";
}

function card(title, ...parts) {
  return h("article", { class: "card" }, h("h3", {}, title), ...parts);
}

function code(text) {
  return text === "" ? null : h("bdi", { class: "code" }, visible(text));
}

function link(id) {
  return h("a", { class: "code", href: `#/calls/${id}` }, id);
}

function unseen(text) {
  return h("span", { class: "unseen" }, text);
}

function button(text, act, kind = "") {
  return h("button", { type: "button", class: kind, click: act }, text);
}

/** An instant, and how far it is from now. */
function at(text) {
  if (text === null) return null;
  return h("time", { datetime: text }, `${instant(text)} UTC (${distance(text)})`);
}
