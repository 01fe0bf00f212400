// The list of messages: older ones by search, new ones live.

import { api, trouble, words } from "./api.js";
import { $, fill, h, missing, plural, say, tools } from "./dom.js";
import { createFeed } from "./feed.js";
import { MANY, NAMES, fromAddress, isEmpty, matches, parseTime, pick, toAddress, toQuery } from "./filter.js";
import { listen } from "./live.js";
import { moment, typed } from "./time.js";
import { draw, show } from "./timeline.js";

const PAGE = 100; // messages loaded at once
const TIMELINE = 10_000; // ms between updates of the timeline
const AHEAD = 600; // px from the end of the loaded messages at which more are loaded
const AGAIN = 2_000; // ms until a failed request is tried again
const EXPECT = 60_000; // ms between looks at the runs under way
const DRY = 10; // pages without a new row after which more are loaded only by the button
const CHOICES = "hal-feed"; // key of the reader's choices in the browser's storage

const filter = fromAddress(location.search);
const form = $("filter");
const choices = { newest: "top", grouped: true, ...kept() };
let cursor = null; // start of the next older page
let loading = false;
let resting = false; // after a failure, loading pauses for a while
let dry = 0; // pages since the last new row
let counted = 0; // time when the timeline was drawn
let changed = false; // there are messages that the timeline does not have

const feed = createFeed({
  list: $("messages"),
  feed: $("feed"),
  newer: $("newer"),
  address: (name, value, not) => address(pick(filter, name, value, not)),
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

// The reader's earlier choices; null if the browser has none, or they cannot be read.
function kept() {
  try {
    return JSON.parse(localStorage.getItem(CHOICES));
  } catch {
    return null;
  }
}

// Shows a note about the last request; without arguments it is hidden.
function note(...text) {
  fill($("note"), text);
  $("note").hidden = text.length === 0;
}

function address(next) {
  const query = toAddress(next);
  return query.size ? `/?${query}` : "/";
}

// Opens the page with another filter.
const go = (next) => location.assign(address(next));

async function load() {
  const query = toQuery(filter);
  query.set("limit", PAGE);
  if (cursor) query.set("cursor", cursor);
  const answer = await api(`/api/messages?${query}`);
  const before = feed.size;
  feed.addOlder(answer.messages);
  dry = feed.size > before ? 0 : dry + 1;
  cursor = answer.cursor;
  $("older").hidden = !cursor;
  const { incomplete } = answer;
  if (incomplete) note(missing(incomplete), incomplete.passing && [". ", h("a", { href: "" }, "Reload"), " later"], ".");
  else note();
  showEmpty();
  return answer;
}

const end = new IntersectionObserver(goOn, { rootMargin: `${AHEAD}px` });

// True if the end of the loaded messages is visible, or nearly.
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
    // An observer reports only changes, unless it is started again.
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
    const data = await api(`/api/timeline?${toQuery(filter)}`);
    draw($("timeline"), data, (since, until) => go({ ...filter, since, until }));
    changed ||= Boolean(data.incomplete?.passing);
  } catch (error) {
    const wrong = trouble(error);
    if (!wrong.isEqualNode($("timeline").firstChild)) show($("timeline"), wrong);
    changed = true;
  }
}

// New messages are counted too, but not each at once.
setInterval(() => {
  if (changed && !document.hidden && Date.now() - counted >= TIMELINE) count();
}, 1_000);

// A run that started while the page was open, and whose end is not told, is found by the list of open problems.
setInterval(async () => {
  const due = new Map();
  try {
    const { problems } = feed.isExpecting ? await api("/api/problems?limit=500") : { problems: [] };
    for (const each of problems) due.set(each.sequence, each.due);
  } catch {
    // The next question may be answered.
  }
  feed.expect(due);
}, EXPECT);

function goLive(live, through) {
  // A time range in the past gets no new messages.
  if (filter.until && parseTime(filter.until) < Date.now()) {
    live.close();
    say("past", "this time range is over: no new messages");
    return;
  }
  let lost = "";
  live.follow(through, {
    message(entry) {
      feed.end(entry);
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
      lost = `Connection lost, reconnecting. Last update at ${moment(since)}.`;
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
      // A wrong request stays wrong, so it is not repeated.
      if (error.status && error.status < 500) return;
      say("lost", "not connected");
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
  }
}

// A value of the filter as it is shown in the form. A time is in the page's zone, though the address, which others may
// open, has it in UTC.
function shown(name) {
  const value = [filter[name]].flat().join(" ");
  return /^\d{4}-.*Z$/.test(value) && !Number.isNaN(parseTime(value)) ? typed(value) : value;
}

// The filter in the form. A time that was not changed stays exactly what it was.
function formFilter() {
  const next = fromAddress(`?${new URLSearchParams(new FormData(form))}`);
  for (const name of ["since", "until"]) next[name] = next[name] === shown(name) ? filter[name] : next[name];
  for (const name of MANY.filter((name) => name !== "key")) next[name] = next[name].flatMap((value) => value.split(/[ ,]+/)).filter(Boolean);
  return fromAddress(`?${toQuery(next)}`);
}

function choose(change) {
  Object.assign(choices, change);
  apply();
  try {
    localStorage.setItem(CHOICES, JSON.stringify(choices));
  } catch {
    // Without storage, the choice holds for this page only.
  }
}

function apply() {
  feed.setNewestFirst(choices.newest === "top");
  feed.setGrouped(choices.grouped);
  $("order").value = choices.newest;
  $("grouped").checked = choices.grouped;
  document.body.classList.toggle("newest-last", choices.newest !== "top");
  // The button is at the end with the older messages, so that it is not always visible.
  $("feed")[choices.newest === "top" ? "after" : "before"]($("older"));
}

// Fields that the reader filled in before this script ran are kept.
for (const name of NAMES.filter((name) => name !== "key")) form.elements[name].value ||= shown(name);
// A key may contain blanks: each has a field of its own.
form.elements.key.value ||= filter.key[0] || "";
for (const key of filter.key.slice(1)) {
  const label = form.elements.key.closest?.("label") ?? form.elements.key[0].closest("label");
  const another = label.cloneNode(true);
  another.querySelector("input").value = key;
  label.after(another);
}
const query = toQuery(filter);
$("take").append(tools(address(filter), `/api/messages?${query}`),
  ...[["csv", "CSV"], ["jsonl", "JSON lines"]].map(([format, name]) => h("a", { href: `/api/export?${new URLSearchParams([...query, ["format", format]])}`, download: `messages.${format}` }, name)));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(formFilter());
});
for (const button of document.querySelectorAll("[data-ago]")) {
  button.addEventListener("click", () => go({ ...formFilter(), since: button.dataset.ago, until: "" }));
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

// Names to choose from; the form works without them.
async function suggest(name) {
  try {
    const { names } = await api(`/api/${name}?limit=500`);
    fill($(name), names.map((each) => h("option", { value: each.name }, plural(each.count, "message"))));
  } catch {
    // Without an answer there are no names to choose from.
  }
}
for (const name of ["tags", "sources"]) form.addEventListener("focusin", () => suggest(name), { once: true });

apply();
start();
