// The list of messages: newest at one end, older ones loaded at the other, those of one source and key grouped in one
// row. New messages wait while the reader is away from the newest end, or has paused the list.

import { body, count, duration, h, headline, messageAddress, plural, searchAddress, severity, status, time, tools } from "./dom.js";
import { chip, ends } from "./story.js";
import { moment } from "./time.js";

const MOST = 10_000; // rows; those at the far end are removed and can be loaded again
const KEPT = 20_000; // messages in all rows
const EACH = 100; // latest messages in one row; of older ones only the number is kept
const WAITING = 2_000; // messages that wait to be shown; of further ones only the number is kept
const TOGETHER = 40; // ms in which new messages are collected before they are put on the page
const NEAR = 80; // px from the newest end that still count as being there
const ALOUD = 5; // a screen reader reads out at most this many messages at once
const CHUNK = 100; // rows of one list: browsers skip lists that are out of sight, but check each list while scrolling

const isCritical = ({ message }) => message.severity === "critical";

// `address(name, value, not)` is the address of the list with one more value in its filter.
// `on.gone(sequence)` is called with the last sequence that was removed at the far end; `on.flood()` when more messages
// waited than are kept.
export function createFeed({ list, feed, newer, address, on }) {
  // By group or sequence: { key, entries, gone, first, item }. Entries are oldest first; `gone` is the number of
  // removed entries, and `first` the sequence of the oldest entry, removed or not.
  const rows = new Map();
  let kept = 0; // entries in all rows
  let newestFirst = true;
  let grouped = true;
  let paused = false;
  let fresh = []; // about to be shown, oldest first
  let waiting = []; // new messages while the reader is away from the newest end
  let missed = 0; // number of waiting messages that are not kept
  let unread = 0; // number of messages that arrived while the page was hidden
  let critical = 0; // number of critical ones among them
  let unseen = null; // time of the first of them, until a line is drawn before it
  let timer = null;
  let quiet = true; // the first messages on the page are not new
  const title = document.title;
  const icon = document.querySelector("link[rel=icon]");
  const quietIcon = icon.getAttribute("href");

  const keyOf = ({ sequence, message }) =>
    (grouped && message.key ? `${message.source} ${message.key}` : `${sequence}`);

  function atEdge() {
    // An empty list is always at its newest end.
    if (!rows.size) return true;
    const box = feed.getBoundingClientRect();
    return newestFirst ? box.top > -NEAR : box.bottom < innerHeight + NEAR;
  }

  // The row of a run shows its start and its end, other rows their latest message.
  function summary(row) {
    const entry = row.entries.at(-1);
    const { message } = entry;
    const chips = [];
    const shown = headline(message);
    const took = message.run?.duration;
    // A headline such as "tar succeeded in 3m" contains the status already.
    const says = message.status && shown.toLowerCase().includes(message.status);
    if (message.status) chips.push(status(message.status, says ? "" : took != null ? duration(took) : message.status));
    chips.push(chip(entry));
    const others = row.gone + row.entries.length - 1 - (runStart(row) ? 1 : 0);
    if (others > 0) chips.push(h("span", { class: "times", title: "earlier messages of the same source and key" }, `+${count(others)}`));
    return h("summary", {},
      time(entry.at),
      severity(message.severity || "info"),
      h("span", { class: "from" }, h("bdi", { class: "tag" }, message.tag), " ", h("bdi", { class: "source" }, message.source)),
      h("span", { class: "headline" }, chips.filter(Boolean).map((chip) => [chip, " "]), h("bdi", {}, shown)));
  }

  // The start of the run that the latest message ends.
  function runStart(row) {
    const [before, latest] = row.entries.slice(-2);
    const ended = latest && ["succeeded", "failed"].includes(latest.message.status);
    return ended && before.message.status === "started" && before.message.tag === latest.message.tag ? before : null;
  }

  function unfold(row) {
    const latest = row.entries.at(-1);
    const { source, key } = latest.message;
    const start = runStart(row);
    const earlier = row.entries.slice(0, -1).filter((entry) => entry !== start).reverse();
    return h("div", { class: "body" },
      h("p", { class: "more" }, h("a", { href: messageAddress(latest.message) }, "Full message and deliveries"), tools(messageAddress(latest.message))),
      start && h("p", { class: "note" }, "started ", time(start.at), `, ended ${moment(latest.at)}`),
      body(latest, address),
      earlier.length > 0 && [
        h("h3", {}, "Earlier"),
        h("ol", { class: "earlier" }, earlier.map((entry) => h("li", { class: entry.message.severity },
          time(entry.at), " ", severity(entry.message.severity || "info"), " ",
          entry.message.status && [status(entry.message.status), " "],
          chip(entry), " ",
          h("a", { href: messageAddress(entry.message) }, h("bdi", {}, headline(entry.message))))),
          row.gone > 0 && h("li", {}, h("a", { href: searchAddress({ source, key }) }, `${count(row.gone)} more`))),
      ]);
  }

  function draw(row) {
    const latest = row.entries.at(-1);
    const wasOpen = row.item?.firstElementChild.open;
    const details = h("details", {}, summary(row));
    // The body is built when the row is first opened: most rows never are. A screen reader need not read it out.
    details.addEventListener("toggle", () => {
      if (details.childElementCount > 1) return;
      feed.setAttribute("aria-live", "off");
      details.append(unfold(row));
    });
    const item = row.item ?? Object.assign(h("li"), { row });
    item.className = `row ${latest.message.severity || "info"}${latest.over ? " over" : ""}`;
    if (wasOpen) {
      details.open = true;
      details.append(unfold(row));
    }
    item.replaceChildren(details);
    row.item = item;
    return item;
  }

  // Puts rows at one end of all lists; the first of them is the one nearest to the existing rows.
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

  // Adds a message to its row, at the front or at the end; null if the row has it already.
  function keep(entry, atFront) {
    const key = keyOf(entry);
    const row = rows.get(key) ?? { key, entries: [], gone: 0, first: Infinity, item: null };
    const { sequence } = entry;
    if (sequence >= row.first && sequence <= row.entries.at(-1).sequence) return null;
    rows.set(key, row);
    row.first = Math.min(row.first, sequence);
    if (atFront) row.entries.unshift(entry);
    else row.entries.push(entry);
    if (row.entries.length > EACH) {
      row.entries.shift();
      row.gone += 1;
    } else {
      kept += 1;
    }
    return row;
  }

  // Keeps the focus on its row while rows are redrawn and moved.
  function holdingFocus(change) {
    const item = document.activeElement?.closest(".row");
    change();
    if (item && !item.contains(document.activeElement)) item.querySelector("summary").focus({ preventScroll: true });
  }

  function flush() {
    if (!fresh.length) return;
    const stay = !newestFirst && atEdge();
    const aloud = !quiet && fresh.length <= ALOUD;
    feed.setAttribute("aria-live", aloud ? "polite" : "off");
    if (!quiet) markUnseen();
    const changed = new Set();
    for (const entry of fresh) {
      const row = keep(entry, false);
      if (!row) continue;
      // The position of the row is that of its latest message.
      changed.delete(row);
      changed.add(row);
    }
    holdingFocus(() => put([...changed].map(draw), newestFirst));
    fresh = [];
    trim();
    if (stay) toEdge();
  }

  function trim() {
    while (rows.size > MOST || kept > KEPT) {
      const far = newestFirst ? list.lastElementChild.lastElementChild : list.firstElementChild.firstElementChild;
      take(far);
      const gone = far.row; // absent for the line of unread messages
      if (!gone) continue;
      rows.delete(gone.key);
      kept -= gone.entries.length;
      on.gone(gone.entries.at(-1).sequence);
    }
  }

  // A line between messages that were seen and those that arrived while the page was hidden.
  function markUnseen() {
    if (unseen && list.childElementCount && !list.querySelector(".unread")) {
      put([h("li", { class: "unread" }, h("span", {}, `new since ${moment(unseen)}`))], newestFirst);
    }
    unseen = null;
  }

  // In a row of tabs, the sign of a critical message comes first.
  function tellUnread() {
    document.title = [critical && `■ ${critical} critical`, unread && `(${unread})`, title].filter(Boolean).join(" ");
    icon.href = critical ? quietIcon.replace("icon.svg", "icon-critical.svg") : quietIcon;
  }

  function tellNewer() {
    const number = waiting.length + missed;
    const bad = waiting.filter(isCritical).length;
    newer.hidden = number === 0;
    newer.textContent = `${newestFirst ? "↑" : "↓"} ${plural(number, "new message")}${bad ? `, ${count(bad)} critical` : ""}`;
  }

  // The things that this message ends are over in every row: it may not be in the list itself.
  function end({ sequence, at, message }) {
    const { source, key, status: now } = message;
    if (!key || !now) return;
    const over = { sequence, at, status: now };
    const mark = (entry) => {
      const { message: earlier } = entry;
      const same = earlier.key === key && earlier.source === source && entry.sequence < sequence;
      if (!same || entry.over || !ends(earlier.status, now)) return false;
      entry.over = over;
      return true;
    };
    [...fresh, ...waiting].forEach(mark);
    const group = rows.get(`${source} ${key}`);
    const touched = grouped ? [group].filter(Boolean) : [...rows.values()];
    redraw(touched.filter((row) => row.entries.map(mark).some(Boolean)));
  }

  function redraw(changed) {
    if (!changed.length) return;
    feed.setAttribute("aria-live", "off");
    holdingFocus(() => changed.forEach(draw));
  }

  // Shows the waiting messages.
  function release() {
    if (!waiting.length) return;
    if (missed) on.flood();
    fresh.push(...waiting);
    waiting = [];
    missed = 0;
    flush();
    tellNewer();
  }

  // At the newest end messages need not wait. It can be reached without a scroll, as when a tall row is closed.
  function settle() {
    if (!paused && atEdge()) release();
  }

  function add(entry) {
    if (document.hidden) {
      unread += 1;
      if (isCritical(entry)) critical += 1;
      unseen ??= entry.at;
    }
    // Waiting messages are shown first.
    if (!quiet && (paused || waiting.length || !atEdge())) {
      if (waiting.push(entry) > WAITING) {
        waiting.shift();
        missed += 1;
      }
    } else {
      fresh.push(entry);
    }
    timer ??= setTimeout(() => {
      timer = null;
      flush();
      settle();
      tellNewer();
      tellUnread();
    }, TOGETHER);
  }

  function toEdge() {
    scrollTo({ top: newestFirst ? 0 : document.documentElement.scrollHeight });
  }

  addEventListener("scroll", settle, { passive: true });
  newer.addEventListener("click", () => {
    toEdge();
    release();
  });
  document.addEventListener("visibilitychange", () => {
    const mark = list.querySelector(".unread");
    if (document.hidden && mark) take(mark);
    unread = 0;
    critical = 0;
    tellUnread();
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
    end,
    // Sets the end of the usual time of runs under way, by sequence, and shows those that are later.
    expect(due) {
      const running = [...rows.values()].filter((row) => row.entries.at(-1).message.status === "started");
      for (const row of running) {
        const entry = row.entries.at(-1);
        entry.due ??= due.get(entry.sequence);
      }
      redraw(running.filter(({ entries, item }) => Boolean(chip(entries.at(-1))) !== Boolean(item.querySelector(".story"))));
    },
    // True if a run is under way whose usual time is not known.
    get isExpecting() {
      const isRunning = ({ message, over, due }) => message.status === "started" && message.key && !over && !due;
      return [...rows.values()].some(({ entries }) => isRunning(entries.at(-1)));
    },
    // Adds older messages, newest first as the relay returns them.
    addOlder(older) {
      const stay = !newestFirst && atEdge();
      const { bottom } = feed.getBoundingClientRect();
      feed.setAttribute("aria-live", "off");
      const changed = new Set(older.map((entry) => keep(entry, true)).filter(Boolean));
      // Existing rows keep their position.
      holdingFocus(() => put([...changed].map(draw).filter((item) => !item.isConnected), !newestFirst));
      if (stay) toEdge();
      else if (!newestFirst) scrollBy({ top: feed.getBoundingClientRect().bottom - bottom });
    },
    // Messages from here on are new.
    live() {
      flush();
      quiet = false;
      tellNewer();
    },
    setNewestFirst(value) {
      if (newestFirst === value) return;
      newestFirst = value;
      list.replaceChildren();
      const latest = (row) => row.entries.at(-1).sequence;
      put([...rows.values()].sort((a, b) => latest(a) - latest(b)).map((row) => row.item), newestFirst);
      toEdge();
      settle();
      tellNewer();
    },
    setGrouped(value) {
      if (grouped === value) return;
      // Removed messages of a group would have rows of their own.
      if (!value && [...rows.values()].some((row) => row.gone)) on.flood();
      grouped = value;
      const all = [...rows.values()].flatMap((row) => row.entries).sort((a, b) => a.sequence - b.sequence);
      rows.clear();
      kept = 0;
      list.replaceChildren();
      fresh = [...all, ...fresh];
      quiet = true;
      flush();
      quiet = false;
    },
    setPaused(value) {
      paused = value;
      settle();
    },
    // The number of rows, with messages that are about to be shown.
    get size() {
      return rows.size + fresh.length + waiting.length;
    },
  };
}
