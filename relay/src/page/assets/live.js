// Live messages. All open pages of a browser share one connection, since browsers allow only six to a server: the page
// that holds the lock is connected and passes messages on to the others; when it is closed, another page takes over
// from its own position. Without locks (plain http from another machine) each page has its own connection.

import { refusal } from "./api.js";

const LOCK = "hal-stream";
const SILENCE = 40_000; // ms without any event until a connection counts as lost; the relay sends one every 15 s
const AGAIN = 3_000; // ms until a connection that the browser gave up is opened again
const EARLY = 1_000; // messages from another page that are kept before this page knows its position
const ANEW = 2_000; // ms until the page is reloaded for a new log: the relay may need a moment

// Listens from now on, so that no message is missed between the search and the live messages: first this, then the
// search, then `follow` or `close`.
export function listen() {
  const shared = "locks" in navigator && "BroadcastChannel" in window;
  const channel = shared ? new BroadcastChannel(LOCK) : null;
  const early = [];
  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data.kind === "message" && early.length <= EARLY) early.push(data);
    };
  }
  return {
    follow: (after, on) => follow(channel, early, after, on),
    close: () => channel?.close(),
  };
}

// Calls `on.message(entry)` for each message after sequence `after`, once and in order; `on.live()` when all missed
// messages have arrived, and from then on `on.problem(text)` with the relay's problem, or null; `on.lost(since)` when
// the connection is lost, and `on.refused(error)` when the relay gives a reason.
function follow(channel, early, after, on) {
  let last = after;
  let heard = Date.now();
  let source = null; // only while this page holds the connection
  let state = ""; // live or lost, once it is known
  let problem = null;
  let release = null;
  let behind = early.length > EARLY; // messages were missed, until this page has read them from the relay

  function become(next, since) {
    if (state === next) return;
    state = next;
    if (state === "lost") return on.lost(since);
    on.live();
    on.problem(problem);
  }

  function hear(event) {
    heard = Date.now();
    switch (event.kind) {
      case "message":
        if (event.entry.sequence <= last) return;
        last = event.entry.sequence;
        on.message(event.entry);
        break;
      case "state":
        problem = event.problem;
        if (state === "live") on.problem(problem);
        break;
      case "live":
      case "lost":
        become(event.kind, event.since);
        break;
      case "refused":
        if (state === "lost") on.refused(event.error);
        break;
      case "anew":
        setTimeout(() => location.reload(), ANEW);
    }
  }

  function tell(event) {
    hear(event);
    channel?.postMessage(event);
  }

  function connect() {
    source?.close();
    const address = `/api/stream?after=${last}`;
    source = new EventSource(address);
    source.addEventListener("message", (event) => tell({ kind: "message", entry: JSON.parse(event.data) }));
    source.addEventListener("state", (event) => tell({ kind: "state", problem: JSON.parse(event.data).problem }));
    source.addEventListener("live", () => {
      behind = false;
      tell({ kind: "live" });
    });
    source.addEventListener("alive", () => tell({ kind: "alive" }));
    source.addEventListener("anew", () => tell({ kind: "anew" }));
    source.addEventListener("error", async () => {
      tell({ kind: "lost", since: heard });
      // The browser reconnects after most errors; where it gives up, as after an error status, this script reconnects.
      if (source?.readyState !== EventSource.CLOSED) return;
      setTimeout(() => source && connect(), AGAIN);
      const error = await refusal(address);
      if (error) tell({ kind: "refused", error: { message: error.message, status: error.status } });
    });
  }

  // Connects for as long as this page holds the lock. `steal` takes it from a page that was suspended with it.
  function lead(steal) {
    const hold = () => new Promise((resolve) => {
      release = resolve;
      connect();
    });
    navigator.locks.request(LOCK, { steal }, hold).catch(() => {
      // Another page took the lock: from here on it passes messages on to this one.
      source?.close();
      source = null;
      release?.();
      // A page that still misses messages continues after a while, when the other one has read its own.
      if (behind) setTimeout(lead, AGAIN, true);
      else lead(false);
    });
  }

  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data.kind === "hello") {
        if (!source || !state) return;
        channel.postMessage({ kind: "state", problem });
        channel.postMessage({ kind: state, since: heard });
      } else if (!source && !behind) {
        // A page that misses messages would skip them, and the connected page gets them from the relay.
        hear(data);
      }
    };
    if (!behind) early.forEach(hear);
    // Messages that were not kept are read from the relay.
    lead(behind);
    channel.postMessage({ kind: "hello" });
  } else {
    connect();
  }

  // A connection can break without an error, as when a laptop was suspended.
  setInterval(() => {
    if (Date.now() - heard < SILENCE) return;
    const since = heard;
    heard = Date.now();
    hear({ kind: "lost", since });
    if (source || !channel) connect();
    else lead(true);
  }, 5_000);
}
