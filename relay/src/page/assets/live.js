// What comes, as it comes. All open pages of a browser share one connection, since browsers allow only six to a
// server: the page that holds the lock is connected and passes on what it hears; when it goes, another one takes
// over from where it is itself. Where there are no locks (plain http from another machine) each has its own.

import { refusal } from "./api.js";

const LOCK = "hal-stream";
const SILENCE = 40_000; // the relay says something each 15 s, in ms
const AGAIN = 3_000; // before a connection the browser gave up is made anew, in ms
const EARLY = 1_000; // messages that are kept of what others pass on before this page knows from where it follows
const ANEW = 2_000; // before the page is loaded anew with its log, in ms: the relay may need a moment

// Listens from now on, so that nothing falls between what is searched for and what comes after it: first this, then
// the search, then `follow`, or `close`.
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

// Calls `on.message(entry)` for each message after sequence `after`, once and in order; `on.live()` when everything
// that was missed has come, and from then on `on.problem(text)` with what is wrong with the relay, or null;
// `on.lost(since)`, and `on.refused(error)` when the relay says why.
function follow(channel, early, after, on) {
  let last = after;
  let heard = Date.now();
  let source = null; // only while this page is the one that is connected
  let state = ""; // live or lost, once it is known
  let problem = null;
  let release = null;
  let behind = early.length > EARLY; // too much came to be kept: until this page has it all from the relay

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
      // The browser itself comes back from most; where it gives up, as after an error's status, it is up to us.
      if (source?.readyState !== EventSource.CLOSED) return;
      setTimeout(() => source && connect(), AGAIN);
      const error = await refusal(address);
      if (error) tell({ kind: "refused", error: { message: error.message, status: error.status } });
    });
  }

  // Connected for as long as the lock is ours. `steal` takes it from a page that has fallen asleep with it.
  function lead(steal) {
    const hold = () => new Promise((resolve) => {
      release = resolve;
      connect();
    });
    navigator.locks.request(LOCK, { steal }, hold).catch(() => {
      // Taken from us: from here on we hear what the other one passes on.
      source?.close();
      source = null;
      release?.();
      // Who is still behind goes on after a while, when the other one has what it missed.
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
        // For who is behind it would be a leap, and who is connected hears it from the relay.
        hear(data);
      }
    };
    if (!behind) early.forEach(hear);
    // Where too much came to be kept, it is asked for.
    lead(behind);
    channel.postMessage({ kind: "hello" });
  } else {
    connect();
  }

  // A connection can die without a word, as when a laptop slept.
  setInterval(() => {
    if (Date.now() - heard < SILENCE) return;
    const since = heard;
    heard = Date.now();
    hear({ kind: "lost", since });
    if (source || !channel) connect();
    else lead(true);
  }, 5_000);
}
