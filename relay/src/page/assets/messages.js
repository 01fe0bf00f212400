// The messages: those that were, by search, and those that come, live.

import { api, trouble, words } from "./api.js";
import { $, fill, h, missing, plural, say } from "./dom.js";
import { createFeed } from "./feed.js";
import { NAMES, fromAddress, isEmpty, matches, parseTime, toAddress } from "./filter.js";
import { listen } from "./live.js";
import { draw, show } from "./timeline.js";

const PAGE = 100; // messages loaded at once
const TIMELINE = 10_000; // how often what came is counted anew, in ms
const AHEAD = 600; // px from the end of what is loaded at which more is asked for
const AGAIN = 2_000; // before what failed is tried again, in ms
const DRY = 10; // pages without a new row after which more is loaded only when asked for
const CHOICES = "hal-feed"; // what this reader has chosen, kept in the browser

const filter = fromAddress(location.search);
const form = $("filter");
const choices = { newest: "top", grouped: true, ...kept() };
let cursor = null; // where older messages go on
let loading = false;
let resting = false; // after a failure nothing is loaded by itself for a while
let dry = 0; // pages since the last new row
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
    flood() {
      $("flood").hidden = false;
    },
  },
});

// What was chosen before, unless the browser keeps nothing, or something else.
function kept() {
  try {
    return JSON.parse(localStorage.getItem(CHOICES));
  } catch {
    return null;
  }
}

// What there is to say about the last that was loaded; nothing, when it is all there.
function note(...said) {
  fill($("note"), said);
  $("note").hidden = said.length === 0;
}

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
  const before = feed.size;
  feed.addOlder(found.messages);
  dry = feed.size > before ? 0 : dry + 1;
  cursor = found.cursor;
  $("older").hidden = !cursor;
  const { incomplete } = found;
  if (incomplete) note(missing(incomplete), incomplete.passing && [": ", h("a", { href: "" }, "load it anew"), " later"], ".");
  else note();
  showEmpty();
  return found;
}

const end = new IntersectionObserver(goOn, { rootMargin: `${AHEAD}px` });

// The end of what is loaded is in sight, or soon.
function isNearEnd() {
  const { top, bottom } = $("older").getBoundingClientRect();
  return top < innerHeight + AHEAD && bottom > -AHEAD;
}

async function loadOlder() {
  if (loading || !cursor) return;
  loading = true;
  $("older").setAttribute("aria-busy", "true");
  try {
    await load();
    // It only tells of changes, unless it begins anew.
    end.unobserve($("older"));
    end.observe($("older"));
  } catch (error) {
    note(trouble(error));
    resting = true;
    setTimeout(() => {
      resting = false;
      goOn();
    }, AGAIN);
  }
  loading = false;
  $("older").removeAttribute("aria-busy");
}

function goOn() {
  if (isNearEnd() && !resting && dry < DRY) loadOlder();
}

function showEmpty() {
  const empty = feed.size === 0 && !cursor;
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
      showEmpty();
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
      goLive(live, through);
      return count();
    } catch (error) {
      live.close();
      note(trouble(error));
      // What is asked for cannot be answered, however often it is asked.
      if (error.status && error.status < 500) return;
      say("lost", "not connected");
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
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
  apply();
  try {
    localStorage.setItem(CHOICES, JSON.stringify(choices));
  } catch {
    // Then it holds for this page alone.
  }
}

function apply() {
  feed.setNewestFirst(choices.newest === "top");
  feed.setGrouped(choices.grouped);
  $("order").value = choices.newest;
  $("grouped").checked = choices.grouped;
  document.body.classList.toggle("newest-last", choices.newest !== "top");
  // Where older ones come, so that it is not always in sight.
  $("feed")[choices.newest === "top" ? "after" : "before"]($("older"));
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
$("older").addEventListener("click", () => {
  dry = 0;
  loadOlder();
});
end.observe($("older"));
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
