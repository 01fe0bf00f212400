// The messages: those that were, by search, and those that come, live.

import { api, trouble, words } from "./api.js";
import { $, fill, h, plural, say } from "./dom.js";
import { createFeed } from "./feed.js";
import { NAMES, fromAddress, isEmpty, matches, parseTime, toAddress } from "./filter.js";
import { listen } from "./live.js";
import { draw, show } from "./timeline.js";

const PAGE = 100; // messages loaded at once
const TIMELINE = 10_000; // how often what came is counted anew, in ms
const AHEAD = 600; // px from the end of what is loaded at which more is asked for
const AGAIN = 2_000; // ms
const CHOICES = "hal-feed"; // what this reader has chosen, kept in the browser

const filter = fromAddress(location.search);
const form = $("filter");
const choices = { newest: "top", grouped: true, ...JSON.parse(localStorage.getItem(CHOICES) || "{}") };
let cursor = null; // where older messages go on
let loading = null;
let counted = 0; // when the timeline was drawn
let changed = false; // there is more to count since

const feed = createFeed({
  list: $("messages"),
  feed: $("feed"),
  newer: $("newer"),
  on: {
    gone(sequence) {
      cursor = `${sequence + 1}`;
      $("older").hidden = false;
    },
    flood: () => note("So much came that some of it is left out here: ", anew(), "."),
  },
});

function note(...said) {
  fill($("note"), said);
  $("note").hidden = said.length === 0;
}

const anew = () => h("a", { href: location.href }, "load it anew");

// Where somebody goes to see what is asked for now.
function go(next) {
  const query = toAddress(next);
  location.assign(query.size ? `/?${query}` : "/");
}

async function load() {
  const query = toAddress(filter);
  query.set("limit", PAGE);
  if (cursor) query.set("cursor", cursor);
  const found = await api(`/api/messages?${query}`);
  feed.addOlder(found.messages);
  cursor = found.cursor;
  $("older").hidden = !cursor;
  const { incomplete } = found;
  if (incomplete) {
    const { reason, before, passing } = incomplete;
    note(reason, before && `, before ${new Date(before).toLocaleString("en-GB")}`, passing && [": ", anew(), " later"], ".");
  }
  return found;
}

// The end of what is loaded is in sight, or soon.
function isNearEnd() {
  const { top, bottom } = $("older").getBoundingClientRect();
  return top < innerHeight + AHEAD && bottom > -AHEAD;
}

function loadOlder() {
  if (loading || !cursor) return;
  $("older").setAttribute("aria-busy", "true");
  loading = load().catch((error) => fill($("note"), trouble(error))).finally(() => {
    loading = null;
    $("older").removeAttribute("aria-busy");
    // The observer only tells of changes.
    requestAnimationFrame(() => isNearEnd() && loadOlder());
  });
}

function showEmpty() {
  const empty = feed.size === 0;
  $("empty").hidden = !empty || !isEmpty(filter);
  $("nothing").hidden = !empty || isEmpty(filter);
}

async function count() {
  counted = Date.now();
  changed = false;
  try {
    const data = await api(`/api/timeline?${toAddress(filter)}`);
    draw($("timeline"), data, (since, until) => go({ ...filter, since, until }));
    changed ||= Boolean(data.incomplete?.passing);
  } catch (error) {
    const wrong = trouble(error);
    if (!wrong.isEqualNode($("timeline").firstChild)) show($("timeline"), wrong);
    changed = true;
  }
}

// What comes is counted too, but not at each message.
setInterval(() => {
  if (changed && !document.hidden && Date.now() - counted >= TIMELINE) count();
}, 1_000);

function goLive(live, through) {
  // What is over does not change.
  if (filter.until && parseTime(filter.until) < Date.now()) {
    live.close();
    say("past", "up to a moment that is over: nothing new comes here");
    return;
  }
  let lost = "";
  live.follow(through, {
    message(entry) {
      if (!matches(filter, entry.message, entry.at)) return;
      changed = true;
      feed.add(entry);
      $("empty").hidden = true;
      $("nothing").hidden = true;
    },
    live: () => feed.live(),
    problem(text) {
      if (text) say("problem", `the relay is not ready: ${text}`);
      else say("live", "live");
    },
    lost(since) {
      lost = `Connection lost, trying again. What is here is as of ${new Date(since).toLocaleTimeString("en-GB")}.`;
      say("lost", lost);
    },
    refused: (error) => say("lost", lost, " ", words(error)),
  });
}

async function start() {
  for (;;) {
    const live = listen();
    try {
      const { through } = await load();
      feed.live();
      showEmpty();
      goLive(live, through);
      return count();
    } catch (error) {
      live.close();
      fill($("note"), trouble(error));
      $("note").hidden = false;
      say("lost", "not connected");
      if (error.status && error.status < 500) return;
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
      note();
    }
  }
}

// What the form says, with moments as the relay reads them.
function said() {
  const next = fromAddress(`?${new URLSearchParams(new FormData(form))}`);
  for (const name of ["since", "until"]) {
    const at = parseTime(next[name]);
    if (next[name] && !/^\d{1,6} ?[a-z]+$/.test(next[name]) && !Number.isNaN(at)) next[name] = new Date(at).toISOString();
  }
  for (const name of ["tag", "source"]) next[name] = next[name].flatMap((value) => value.split(/[ ,]+/));
  return next;
}

function choose(change) {
  Object.assign(choices, change);
  localStorage.setItem(CHOICES, JSON.stringify(choices));
  apply();
}

function apply() {
  feed.setNewestFirst(choices.newest === "top");
  feed.setGrouped(choices.grouped);
  $("order").value = choices.newest;
  $("grouped").checked = choices.grouped;
  document.body.classList.toggle("newest-last", choices.newest !== "top");
}

// Somebody may have been faster than this script.
for (const name of NAMES) form.elements[name].value ||= [filter[name]].flat().join(" ");
form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(said());
});
for (const button of document.querySelectorAll("[data-ago]")) {
  button.addEventListener("click", () => go({ ...said(), since: button.dataset.ago, until: "" }));
}
$("order").addEventListener("change", (event) => choose({ newest: event.target.value }));
$("grouped").addEventListener("change", (event) => choose({ grouped: event.target.checked }));
$("pause").addEventListener("click", () => {
  const paused = $("pause").getAttribute("aria-pressed") !== "true";
  $("pause").setAttribute("aria-pressed", paused);
  feed.setPaused(paused);
});
$("older").addEventListener("click", loadOlder);
new IntersectionObserver(() => isNearEnd() && loadOlder(), { rootMargin: `${AHEAD}px` }).observe($("older"));
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  form.elements.text.focus();
});

// Names to choose from; the form works without.
async function suggest(name) {
  try {
    const { names } = await api(`/api/${name}?limit=500`);
    fill($(name), names.map((each) => h("option", { value: each.name }, plural(each.count, "message"))));
  } catch {
    // Then there is nothing to choose from.
  }
}
for (const name of ["tags", "sources"]) form.addEventListener("focusin", () => suggest(name), { once: true });

apply();
start();
