// The live list. Everything that came over the wire is put on the page as text, never as markup.

const MOST = 1000; // rows kept; older ones are in the log
const SILENCE = 40_000; // the relay says something each 15 s, in ms
const AGAIN = 3_000; // before a connection the browser gave up is made anew, in ms
const SHAPES = { debug: "·", info: "○", notice: "●", warning: "▲", error: "◆", critical: "■" };

const $ = (id) => document.getElementById(id);
const list = $("messages");
const feed = $("feed");
const seen = new Set(); // what has a row, so that nothing is shown twice
let waiting = []; // rows not yet on the page, oldest first
let last = 0; // the log's sequence up to which everything is here
let heard = 0; // when the relay was last heard
let problem = null; // what the relay says is wrong with itself
let source = null;
let unread = 0;

// Characters that are not seen but change what is: controls, and those that turn the direction of text
// around, so that gnp.exe would read exe.png.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function plain(text) {
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, "\ufffd");
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = plain(text);
  return made;
}

function clock(at) {
  const when = new Date(at);
  const time = when.toLocaleTimeString("en-GB");
  const today = when.toDateString() === new Date().toDateString();
  const shown = today ? time : `${when.toLocaleDateString("en-GB", { day: "2-digit", month: "short" })} ${time.slice(0, 5)}`;
  const made = element("time", "", shown);
  made.dateTime = at;
  made.title = when.toString();
  return made;
}

function severityMark(severity) {
  const made = element("span", "severity");
  const shape = element("span", "", `${SHAPES[severity]} ${severity}`);
  made.append(shape);
  return made;
}

// One line of the list: what is always there, and what unfolds.
function row({ at, severity, tag, from, headline, status, body }) {
  const item = element("li", severity);
  const details = element("details");
  const summary = element("summary");
  const origin = element("span", "from");
  origin.append(element("bdi", "tag", tag), " ", element("bdi", "source", from));
  const line = element("span", "headline", headline);
  // "tar started" says it already.
  if (status && !headline.toLowerCase().includes(status)) line.prepend(element("span", "status", `${status}: `));
  summary.append(clock(at), severityMark(severity), origin, line);
  details.append(summary);
  // Built when it is first opened: most never are.
  details.addEventListener("toggle", () => details.append(body()), { once: true });
  item.append(details);
  return item;
}

function facts(pairs) {
  const made = element("dl");
  for (const [name, value] of pairs) {
    if (value === undefined || value === null || value === "") continue;
    const shown = element("dd");
    shown.append(typeof value === "string" ? plain(value) : value);
    made.append(element("dt", "", name), shown);
  }
  return made;
}

function link({ url, title }) {
  if (!/^https?:\/\//i.test(url)) return document.createTextNode(plain(title ? `${title}: ${url}` : url));
  const made = element("a", "", title || url);
  made.href = url;
  made.title = url;
  made.rel = "noopener noreferrer";
  made.target = "_blank";
  return made;
}

function ending(run) {
  const how = run.signal != null ? `signal ${run.signal}` : run.exit != null ? `exit ${run.exit}` : "running";
  return run.duration != null ? `${run.command}: ${how} after ${run.duration.toFixed(1)} s` : `${run.command}: ${how}`;
}

function messageRow({ sequence, at, message, marks }) {
  const text = message.text || "";
  const firstLine = text.split("\n").map((line) => line.trim()).find(Boolean) || "";
  const headline = (message.title || "").trim() || firstLine;
  const body = () => {
    const made = element("div", "body");
    if (text.trim() !== headline) made.append(element("pre", "", text));
    made.append(facts([
      ...Object.entries(message.fields || {}),
      ...(message.links || []).map((each) => ["link", link(each)]),
      ["command", message.run && ending(message.run)],
      ["host", message.host],
      ["user", message.user],
      ["key", message.key],
      ["note", marks.join("; ")],
      ["time", at],
      ["id", message.id],
      ["in the log", `${sequence}`],
    ]));
    return made;
  };
  const { severity, tag, source: from, status } = message;
  return row({ at, severity, tag, from, headline: headline || "(no text)", status, body });
}

function summaryRow({ at, summary }) {
  const tags = Object.keys(summary.tags);
  const body = () => {
    const made = element("div", "body");
    made.append(facts([
      ["route", summary.route],
      ["first", summary.first],
      ["last", summary.last],
      ...Object.entries(summary.tags).map(([tag, count]) => [tag, `${count}`]),
      ["first message", summary.first_id],
    ]));
    return made;
  };
  const headline = `${summary.count} more held back, last: ${summary.headline}`;
  const tag = tags.length === 1 ? tags[0] : `${tags.length} tags`;
  return row({ at, severity: summary.severity, tag, from: summary.source || "several sources", headline, body });
}

function queue(key, make) {
  if (seen.has(key)) return;
  seen.add(key);
  if (waiting.push({ key, make }) === 1) setTimeout(flush, 30);
  if (waiting.length > MOST) seen.delete(waiting.shift().key);
}

// All that came in one go, newest first, so that a burst costs one layout.
function flush() {
  const fresh = document.createDocumentFragment();
  for (const { key, make } of waiting.reverse()) {
    const item = make();
    item.dataset.key = key;
    fresh.append(item);
  }
  if (feed.getAttribute("aria-busy") !== "true" && scrollY > 100) unread += waiting.length;
  waiting = [];
  list.prepend(fresh);
  while (list.childElementCount > MOST) {
    seen.delete(list.lastElementChild.dataset.key);
    list.lastElementChild.remove();
  }
  $("empty").hidden = true;
  showUnread();
}

function showUnread() {
  $("newer").hidden = unread === 0;
  $("newer").textContent = `↑ ${unread} newer`;
}

function say(state, text) {
  const place = $("connection");
  if (place.textContent === text) return;
  place.dataset.state = state;
  place.textContent = text;
}

function sayState() {
  if (problem) say("problem", `the relay is not ready: ${problem}`);
  else say("live", "live");
}

function sayLost() {
  const since = heard ? ` What is here is as of ${new Date(heard).toLocaleTimeString("en-GB")}.` : "";
  say("lost", `Connection lost, trying again.${since}`);
}

function on(kind, handle) {
  source.addEventListener(kind, (event) => {
    heard = Date.now();
    handle(JSON.parse(event.data), event);
  });
}

function connect() {
  source?.close();
  feed.setAttribute("aria-busy", "true");
  source = new EventSource(last ? `/api/stream?after=${last}` : "/api/stream");
  on("message", (entry, event) => {
    last = Number(event.lastEventId);
    queue(`${entry.sequence} ${entry.message.id}`, () => messageRow(entry));
  });
  on("summary", (entry) => queue(entry.id, () => summaryRow(entry)));
  on("state", (state) => {
    problem = state.problem;
    sayState();
  });
  on("alive", sayState);
  on("live", () => {
    sayState();
    setTimeout(() => {
      feed.removeAttribute("aria-busy");
      $("empty").hidden = list.childElementCount > 0;
    }, 60);
  });
  source.addEventListener("error", () => {
    sayLost();
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN);
  });
}

// A connection can die without a word, as when a laptop slept.
setInterval(() => {
  if (heard && Date.now() - heard > SILENCE) {
    sayLost();
    connect();
  }
}, 5_000);
addEventListener("scroll", () => {
  if (scrollY > 100) return;
  unread = 0;
  showUnread();
}, { passive: true });
$("newer").addEventListener("click", () => scrollTo({ top: 0 }));

connect();
