// The list of messages: newest at one end, older ones loaded at the other, those of one source and key folded into
// one row. While somebody reads further away, or pauses it, what comes waits.

import { body, duration, h, headline, messageAddress, moment, plural, severity, status, time } from "./dom.js";

const MOST = 10_000; // rows; what is further away is let go and can be loaded again
const WAITING = 2_000; // messages that wait to be shown; past that only their number is known
const TOGETHER = 40; // ms in which what comes is put on the page at once
const NEAR = 80; // px from the newest end that still count as being there
const ALOUD = 5; // more messages at once than this are not read out
const CHUNK = 100; // rows of one list: browsers skip those that are out of sight, but look at each while scrolling

// `on.gone(sequence)` says up to where rows were let go at the far end; `on.flood()` that more waited than is kept.
export function createFeed({ list, feed, newer, on }) {
  const rows = new Map(); // by group or sequence: { key, entries, item }, entries oldest first
  let newestFirst = true;
  let grouped = true;
  let paused = false;
  let fresh = []; // about to be shown, oldest first
  let waiting = []; // what came while somebody reads elsewhere
  let missed = 0; // of those that wait, how many are not kept
  let unread = 0; // came while nobody looked
  let timer = null;
  let quiet = true; // what is shown at first is not news

  const keyOf = ({ sequence, message }) =>
    (grouped && message.key ? `${message.source} ${message.key}` : `${sequence}`);

  function atEdge() {
    const box = feed.getBoundingClientRect();
    return newestFirst ? box.top > -NEAR : box.bottom < innerHeight + NEAR;
  }

  // Of a run its start and its end say the most; of others the latest.
  function summary(row) {
    const entry = row.entries.at(-1);
    const { message } = entry;
    const chips = [];
    const shown = headline(message);
    const took = message.run?.duration;
    // "tar succeeded in 3m" says it all.
    const says = message.status && shown.toLowerCase().includes(message.status);
    if (message.status) chips.push(status(message.status, says ? "" : took != null ? duration(took) : message.status));
    const others = row.entries.length - 1 - (runStart(row) ? 1 : 0);
    if (others > 0) chips.push(h("span", { class: "times", title: "with earlier messages of the same source and key" }, `+${others}`));
    return h("summary", {},
      time(entry.at),
      severity(message.severity || "info"),
      h("span", { class: "from" }, h("bdi", { class: "tag" }, message.tag), " ", h("bdi", { class: "source" }, message.source)),
      h("span", { class: "headline" }, chips.map((chip) => [chip, " "]), h("bdi", {}, shown)));
  }

  // The start of the run that the latest message ends.
  function runStart(row) {
    const [before, latest] = row.entries.slice(-2);
    const ended = latest && ["succeeded", "failed"].includes(latest.message.status);
    return ended && before.message.status === "started" && before.message.tag === latest.message.tag ? before : null;
  }

  function unfold(row) {
    const latest = row.entries.at(-1);
    const start = runStart(row);
    const earlier = row.entries.slice(0, -1).filter((entry) => entry !== start).reverse();
    return h("div", { class: "body" },
      h("p", { class: "more" }, h("a", { href: messageAddress(latest.message) }, "Where it went, and all of it")),
      start && h("p", { class: "note" }, "started ", time(start.at), `, ended ${moment(latest.at)}`),
      body(latest),
      earlier.length > 0 && [
        h("h3", {}, "Earlier"),
        h("ol", { class: "earlier" }, earlier.map((entry) => h("li", { class: entry.message.severity },
          time(entry.at), " ", severity(entry.message.severity || "info"), " ",
          entry.message.status && [status(entry.message.status), " "],
          h("a", { href: messageAddress(entry.message) }, h("bdi", {}, headline(entry.message)))))),
      ]);
  }

  function draw(row) {
    const latest = row.entries.at(-1);
    const wasOpen = row.item?.firstElementChild.open;
    const details = h("details", {}, summary(row));
    // Built when it is first opened: most never are.
    const open = () => details.childElementCount === 1 && details.append(unfold(row));
    details.addEventListener("toggle", open);
    const item = row.item ?? Object.assign(h("li"), { row });
    item.className = `row ${latest.message.severity || "info"}`;
    if (wasOpen) {
      details.open = true;
      open();
    }
    item.replaceChildren(details);
    row.item = item;
    return item;
  }

  // Puts rows at one end of all lists; the first of them is the one nearest to what is there.
  function put(items, atTop) {
    for (const item of items) {
      take(item);
      let chunk = atTop ? list.firstElementChild : list.lastElementChild;
      if (!chunk || chunk.childElementCount >= CHUNK) {
        chunk = h("ol");
        if (atTop) list.prepend(chunk);
        else list.append(chunk);
      }
      if (atTop) chunk.prepend(item);
      else chunk.append(item);
    }
  }

  function take(item) {
    const chunk = item.parentElement;
    item.remove();
    if (chunk && !chunk.childElementCount) chunk.remove();
  }

  function row(entry) {
    const key = keyOf(entry);
    const known = rows.get(key);
    if (known) return known;
    const made = { key, entries: [], item: null };
    rows.set(key, made);
    return made;
  }

  function flush() {
    timer = null;
    if (!fresh.length) return;
    const stay = !newestFirst && atEdge();
    const aloud = !quiet && fresh.length <= ALOUD;
    feed.setAttribute("aria-live", aloud ? "polite" : "off");
    markUnread(fresh[0]);
    const changed = new Set();
    for (const entry of fresh) {
      const place = row(entry);
      if (place.entries.some(({ sequence }) => sequence === entry.sequence)) continue;
      place.entries.push(entry);
      // The latest of them is where the row goes.
      changed.delete(place);
      changed.add(place);
    }
    put([...changed].map(draw), newestFirst);
    fresh = [];
    trim();
    if (stay) scrollTo({ top: document.documentElement.scrollHeight });
    tellNewer();
  }

  function trim() {
    while (rows.size > MOST) {
      const far = newestFirst ? list.lastElementChild.lastElementChild : list.firstElementChild.firstElementChild;
      take(far);
      const gone = far.row; // absent for the mark of what was seen
      if (gone) rows.delete(gone.key);
      if (gone) on.gone(gone.entries.at(-1).sequence);
    }
  }

  // A line between what was seen and what came since nobody looked.
  function markUnread(first) {
    if (quiet || !document.hidden) return;
    unread += fresh.length;
    if (!list.querySelector(".unread") && list.childElementCount) {
      put([h("li", { class: "unread" }, h("span", {}, `new since ${moment(first.at)}`))], newestFirst);
    }
    document.title = `(${unread}) ${document.title.replace(/^\(\d+\) /, "")}`;
  }

  function seen() {
    unread = 0;
    document.title = document.title.replace(/^\(\d+\) /, "");
  }

  function tellNewer() {
    const number = waiting.length + missed;
    newer.hidden = number === 0;
    newer.textContent = `${newestFirst ? "↑" : "↓"} ${plural(number, "new message")}`;
  }

  function release() {
    if (paused || !waiting.length) return;
    if (missed) on.flood();
    fresh.push(...waiting);
    waiting = [];
    missed = 0;
    flush();
  }

  function add(entry) {
    if (!quiet && (paused || !atEdge())) {
      if (document.hidden) unread += 1;
      if (waiting.push(entry) > WAITING) {
        waiting.shift();
        missed += 1;
      }
      if (!timer) timer = setTimeout(() => { timer = null; tellNewer(); }, TOGETHER);
      return;
    }
    fresh.push(entry);
    if (!timer) timer = setTimeout(flush, TOGETHER);
  }

  function toEdge() {
    scrollTo({ top: newestFirst ? 0 : document.documentElement.scrollHeight });
    release();
  }

  // Everything that is shown again, in another order or grouped otherwise.
  function redraw() {
    const all = entries();
    rows.clear();
    list.replaceChildren();
    fresh = all;
    quiet = true;
    flush();
    quiet = false;
  }

  const entries = () => [...rows.values()].flatMap((each) => each.entries).sort((a, b) => a.sequence - b.sequence);

  addEventListener("scroll", () => atEdge() && release(), { passive: true });
  newer.addEventListener("click", toEdge);
  document.addEventListener("visibilitychange", () => {
    const mark = list.querySelector(".unread");
    if (!document.hidden) seen();
    else if (mark) take(mark);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.matches("summary")) return;
    const all = [...list.querySelectorAll(".row > details > summary")];
    const next = all[all.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });

  return {
    add,
    // Older ones, newest first as the relay gives them.
    addOlder(older) {
      const items = [];
      for (const entry of older) {
        const known = rows.get(keyOf(entry));
        if (known?.entries.some(({ sequence }) => sequence === entry.sequence)) continue;
        const place = known ?? row(entry);
        place.entries.unshift(entry);
        if (known && known.item) draw(known);
        else items.push(place);
      }
      const before = document.documentElement.scrollHeight;
      put([...new Set(items)].map(draw), !newestFirst);
      if (!newestFirst) scrollBy({ top: document.documentElement.scrollHeight - before });
      tellNewer();
    },
    // From here on what comes is news.
    live() {
      if (timer) clearTimeout(timer);
      flush();
      quiet = false;
    },
    clear() {
      rows.clear();
      list.replaceChildren();
      [fresh, waiting, missed, quiet] = [[], [], 0, true];
      tellNewer();
    },
    setNewestFirst(value) {
      if (newestFirst === value) return;
      newestFirst = value;
      redraw();
      toEdge();
    },
    setGrouped(value) {
      if (grouped === value) return;
      grouped = value;
      redraw();
    },
    setPaused(value) {
      paused = value;
      if (!paused && atEdge()) release();
    },
    get size() {
      return rows.size;
    },
  };
}
