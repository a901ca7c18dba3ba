// Where the page begins: signing in, and which section is shown for which address.

import { call, hasKey, inWords, Refused, setKey, whenLocked } from "./api.js";
import { audit } from "./audit.js";
import { badges } from "./badges.js";
import { calls } from "./calls.js";
import { deadLetters } from "./deadletters.js";
import { byId, setText } from "./dom.js";
import { visible } from "./format.js";
import { events } from "./events.js";
import { jobs } from "./jobs.js";
import { keys } from "./keys.js";
import { lanes } from "./lanes.js";
import { messages } from "./messages.js";
import { clearNotice } from "./notice.js";
import { overview } from "./overview.js";
import { Poll } from "./poll.js";
import { schedules } from "./schedules.js";

const poll = new Poll();
const sections = {
  overview: overview(poll),
  lanes: lanes(poll),
  calls: calls(poll),
  schedules: schedules(poll),
  jobs: jobs(poll),
  audit: audit(),
  messages: messages(),
  "dead-letters": deadLetters(poll),
  events: events(),
};
let leaving = new AbortController(); // what the section that is shown has under way

/** `#/section/rest?query` */
function address() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  const [, name = "", rest = ""] = path.split("/");
  return {
    name: name in sections ? name : "overview",
    rest: decoded(rest),
    query: new URLSearchParams(query),
  };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // it is no id, which the section says
  }
}

function showSection({ moveFocus }) {
  const { name, rest, query } = address();
  leaving.abort();
  leaving = new AbortController();
  for (const one of Object.keys(sections)) byId(one).hidden = one !== name;
  for (const link of document.querySelectorAll("nav[aria-label=Sections] a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  openMenu(false);
  const title = byId(`${name}-title`);
  document.title = `${title.textContent} – Dispatcher`;
  if (moveFocus) title.focus();
  sections[name].show({ rest, query, signal: leaving.signal });
}

/** Narrow screens show the sections only when they are asked for. */
function openMenu(isOpen) {
  byId("menu").setAttribute("aria-expanded", String(isOpen));
}

function unlock() {
  document.body.dataset.state = "open";
  byId("login").hidden = true;
  byId("sign-out").hidden = !hasKey();
  poll.start();
  showSection({ moveFocus: false });
}

function lock(text = "") {
  const isLocked = document.body.dataset.state === "locked";
  setKey(null);
  poll.stop();
  leaving.abort();
  if (byId("dialog").open) byId("dialog").close();
  for (const one of Object.keys(sections)) byId(one).hidden = true;
  byId("login").hidden = false;
  byId("sign-out").hidden = true;
  document.body.dataset.state = "locked";
  document.title = "Sign in – Dispatcher";
  setText(byId("login-error"), text);
  setHealth({ kind: "unknown", text: "Not signed in." });
  if (!isLocked) byId("key").focus();
}

async function signIn(event) {
  event.preventDefault();
  const input = byId("key");
  setText(byId("login-error"), "");
  setKey(input.value.trim());
  const text = await knock();
  if (text === null) {
    input.value = "";
    unlock();
    byId("main").focus({ preventScroll: true });
  } else {
    lock(text);
    input.focus();
    input.select();
  }
}

/** Ask for something that needs a key; what was wrong in words, null when nothing was. */
async function knock() {
  try {
    await call("v1/stats?lanes_limit=1");
    return null;
  } catch (error) {
    if (!(error instanceof Refused)) return inWords(error);
    if (error.status === 401)
      return "This is none of the server's keys. Check it, and API_KEYS of the server.";
    return error.message;
  }
}

/** Which server this is: there may be several with a page like this one. */
function nameInstance(overview) {
  if (overview === null) return; // as it was: it is still about the same one
  setText(byId("instance"), `${visible(overview.instance)} · ${overview.version}`);
}

function setHealth({ kind, text }) {
  byId("health").dataset.kind = kind;
  setText(byId("health-text"), text);
}

async function begin() {
  whenLocked(() => lock("The key is missing or not valid any more. Sign in again."));
  poll.listen(({ health, overview: seen }) => {
    setHealth(health);
    nameInstance(seen);
  });
  badges(byId("sections"), poll);
  byId("login-form").addEventListener("submit", signIn);
  byId("sign-out").addEventListener("click", () => lock());
  keys(() => document.body.dataset.state === "open");
  byId("menu").addEventListener("click", () => {
    openMenu(byId("menu").getAttribute("aria-expanded") !== "true");
  });
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address says which section is shown
    byId("main").focus();
  });
  window.addEventListener("hashchange", () => {
    clearNotice();
    if (document.body.dataset.state === "open") showSection({ moveFocus: true });
  });
  const hadKey = hasKey();
  await knock();
  // A server that can't be reached is no reason to ask for a key: the page says so, and tries on.
  if (document.body.dataset.state !== "locked") unlock();
  else if (!hadKey) setText(byId("login-error"), "");
}

begin();
