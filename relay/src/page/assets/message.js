// One message with all its parts and its deliveries.

import { api, isOperator, poll, trouble, words } from "./api.js";
import { $, ago, body, count, duration, facts, fill, h, headline, link, missing, plural, say, searchAddress, severity, status, time, tools } from "./dom.js";
import { fromAddress, pick, toAddress } from "./filter.js";
import { routes } from "./routes.js";
import { story } from "./story.js";

const ACTED = 60_000; // ms for which a message is updated after an action of the reader
let acted = 0; // time of the last action
const refused = new Map(); // by dead letter: the error of an action on it
const id = location.pathname.slice("/messages/".length); // stays encoded

const OUTCOMES = { ok: "✓ taken", transient: "✗ temporary failure", permanent: "✗ message refused", auth: "✗ room or credentials refused" };

function state({ state: name, sign, words }) {
  return h("span", { class: `state ${name}` }, `${sign} ${words}`);
}

function attempts(step, room) {
  if (!step.attempts.length) return null;
  const left = step.tries - step.attempts.length;
  const rows = step.attempts.map((attempt, i) => {
    const number = i < 2 || left <= 0 ? i + 1 : i + 1 + left;
    return h("tr", { class: attempt.outcome },
      h("td", { "data-name": "attempt" }, number), h("td", { "data-name": "time" }, time(attempt.at)), h("td", { "data-name": "took" }, duration(attempt.seconds)),
      h("td", { "data-name": "outcome" }, OUTCOMES[attempt.outcome]), h("td", { "data-name": "answer" }, h("bdi", {}, attempt.answer)));
  });
  if (left > 0) rows.splice(2, 0, h("tr", {}, h("td", { colspan: 5 }, `… ${plural(left, "more attempt")}`)));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Attempts in ${room}` }, h("table", { class: "cards" },
    h("thead", {}, h("tr", {}, ["attempt", "time", "took", "outcome", "answer"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows)));
}

function act(step, again) {
  if (!step.letter || !isOperator) return null;
  const { letter } = step;
  const run = async (path, method) => {
    try {
      await api(path, { method });
      refused.delete(letter);
      acted = Date.now();
    } catch (error) {
      refused.set(letter, error);
    }
    again();
  };
  // The value distinguishes the buttons of different letters.
  const button = (text, onclick) => h("button", { type: "button", value: letter, onclick }, text);
  return h("p", {},
    button("Try again", () => run(`/api/dead/${letter}/retry`, "POST")), " ",
    button("Give up", () => confirm("Give this dead letter up?") && run(`/api/dead/${letter}`, "DELETE")), " ",
    h("span", { class: "wrong", role: "status" }, refused.has(letter) && words(refused.get(letter))));
}

// The step's reason, without the words of its state when it begins with them.
function reason({ words, reason: text }) {
  const known = `${words} `;
  return text && [": ", h("bdi", {}, text.startsWith(known) ? text.slice(known.length) : text)];
}

// The reason why the message waits.
function waits({ waits: room }, name) {
  if (!room) return null;
  return h("p", {},
    room.failing_since && ["The room has failed since ", time(room.failing_since), ", last at ", time(room.answered_at), ": ", h("bdi", {}, room.answer), ". "],
    room.next_try && ["Next try at ", time(room.next_try), ". "],
    room.pending > 1 && `${plural(room.pending, "message")} wait. `,
    h("a", { href: "/rooms" }, `State of ${name}`));
}

// The step's subject, if it is not the message itself.
function subject({ is_summary: isSummary, repeats }) {
  return isSummary && `the summary of ${repeats ? plural(repeats, "repeat") : "its repeats"}: `;
}

function stepRow(step, room, again) {
  return h("li", {},
    time(step.at), " ", subject(step), state(step), reason(step),
    waits(step, room),
    step.text && h("pre", {}, step.text),
    step.together > 1 && ` (${plural(step.together, "message")} in one post)`,
    step.possible_duplicate && h("em", {}, " possibly posted twice: an earlier attempt may have arrived"),
    (step.post || step.link) && facts([["post", step.post], ["link", step.link && link(step.link)]]),
    attempts(step, room),
    act(step, again));
}

function room({ room, kind, state: now, sign, words, steps }, again) {
  return h("section", { class: `room ${now}`, "aria-label": `Room ${room}` },
    h("h3", {}, h("bdi", {}, room), kind && h("small", {}, ` ${kind}`), " ", state({ state: now, sign, words })),
    steps.length > 0 && h("ol", { class: "steps" }, steps.map((step) => stepRow(step, room, again))));
}

function show(answer, again) {
  const { message, sequence, at, marks, raw } = answer;
  document.title = `${headline(message)} · hal`;
  $("note").hidden = true;
  fill($("headline"), h("bdi", {}, headline(message)));
  fill($("about"), severity(message.severity || "info"), message.status && status(message.status),
    h("a", { class: "tag", href: searchAddress({ tag: message.tag }) }, message.tag),
    h("span", {}, "from ", h("a", { href: searchAddress({ source: message.source }) }, h("bdi", {}, message.source))), ago(at),
    message.key && !message.key.startsWith("!") && h("a", { href: searchAddress({ source: message.source, key: message.key }) }, "all messages with this key"),
    story(answer));
  fill($("contents"), body({ sequence, at, message, marks }, (...value) => `/?${toAddress(pick(fromAddress(""), ...value))}`));

  $("fate").hidden = false;
  fill($("rooms"), answer.rooms.map((each) => room(each, again)), answer.notes.map((step) => h("p", {}, time(step.at), " ", state(step), ": ", h("bdi", {}, step.reason || ""))));
  const notes = [
    answer.not_yet_folded && "The relay has not processed this message yet.",
    answer.also.length > 0 && `Its id is in the log ${plural(answer.also.length + 1, "time")}: also at sequence ${answer.also.map(count).join(", ")}.`,
    answer.incomplete && `${missing(answer.incomplete)}.`,
    !answer.rooms.length && !answer.notes.length && "No deliveries yet.",
  ].filter(Boolean);
  fill($("fate-note"), notes.join(" "));
  $("fate-note").hidden = notes.length === 0;

  $("rules").hidden = !answer.rules;
  if (answer.rules) {
    const { by_default, instead_of, routes: all } = answer.rules;
    routes($("routes"), all);
    fill($("rules-note"), "By the rules that were in force when the message arrived. ",
      by_default && "No route takes it, so it goes to the default room. ",
      instead_of && `In the environment dev, all messages go to ${instead_of.dev_room}, this one instead of to ${instead_of.rooms.join(", ")}.`);
  }

  $("raw").hidden = false;
  fill($("raw-head"), h("dt", {}, "subject"), h("dd", {}, raw.subject),
    Object.entries(raw.headers).map(([name, values]) => [h("dt", {}, name), h("dd", {}, values.join(", "))]));
  let text = raw.payload;
  try {
    text = JSON.stringify(JSON.parse(raw.payload), null, 2);
  } catch {
    // A payload that is not JSON is shown as it is.
  }
  fill($("raw-text"), text);
  // The effect of an action takes a moment to appear.
  const over = answer.settled && Date.now() - acted > ACTED;
  say(over ? "past" : "live", over ? "" : "live");
  return !over;
}

$("take").append(tools(`/messages/${id}`));
const again = poll(() => api(`/api/messages/${id}`), (answer) => show(answer, () => again()), (error) => {
  fill($("note"), trouble(error));
  $("note").hidden = false;
});
