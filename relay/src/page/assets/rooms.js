// The rooms with their states, and their dead letters.

import { api, isOperator, poll, trouble } from "./api.js";
import { $, ago, count, duration, fill, h, messageAddress, plural, say, severity, time } from "./dom.js";

const PAGE = 50; // dead letters loaded at once
const MOST = 500; // dead letters that the relay returns at once
const ACTED = 60_000; // ms for which the result of an action stays visible
const STATES = { ok: "● ok", retrying: "↻ retrying", broken: "■ broken", unknown: "○ unknown yet" };
const ROLES = {
  leading: "This relay leads.",
  standing_by: "This relay stands by: it shows what the leading relay has told last.",
  starting: "This relay is starting.",
  stopping: "This relay is stopping.",
};
const room = new URLSearchParams(location.search).get("room") || "";
let cursor = null;
let loading = false;
let listed = null; // number of dead letters when the list was loaded
let acted = 0; // time of the reader's last action on one

function limiter(limits) {
  if (!limits) return "no limit";
  const pace = `${limits.burst} at once, then one every ${duration(limits.every)}`;
  return limits.wait > 0 ? `${pace}; the next in ${duration(limits.wait)}` : `${pace}; ${limits.tokens} free now`;
}

function row(each) {
  const last = each.attempts.at(-1);
  return h("tr", { class: each.state },
    h("th", { scope: "row" }, h("bdi", {}, each.name), h("small", {}, ` ${each.kind}${each.is_default ? ", default" : ""}`)),
    h("td", { "data-name": "state" }, h("span", { class: `state ${each.state}` }, STATES[each.state]), each.state === "retrying" && ` attempt ${each.tries}`),
    h("td", { class: "number", "data-name": "waiting" }, count(each.pending), each.pending > 0 && each.oldest && h("small", {}, " oldest: ", ago(each.oldest))),
    h("td", { "data-name": "limiter" }, limiter(each.limiter)),
    h("td", { "data-name": "last success" }, each.last_success ? ago(each.last_success) : "–"),
    h("td", { "data-name": "last error" }, each.last_error ? [ago(each.last_error_at), " ", h("bdi", {}, (last && each.state === "retrying" && last.answer) || each.last_error)] : "–"),
    h("td", { class: "number", "data-name": "dead" }, each.dead ? h("a", { href: `/rooms?room=${encodeURIComponent(each.name)}#dead` }, count(each.dead)) : "0"));
}

function showRooms(answer) {
  fill($("role"), ROLES[answer.role], answer.dev_room && ` Environment dev: all messages go to ${answer.dev_room} and to no other room.`);
  const wrong = [answer.problem && `Not ready: ${answer.problem}`, answer.config_error && `The changed configuration has errors, the old one stays in force:\n${answer.config_error}`].filter(Boolean);
  fill($("wrong"), wrong.map((text) => h("pre", {}, text)));
  fill($("rooms"), answer.rooms.map(row));
  if ($("dead").hidden) {
    $("dead").hidden = false;
    // The target of the address exists only now.
    if (location.hash === "#dead") $("dead").scrollIntoView();
  }
  const { dead } = answer;
  $("dead-count").textContent = plural(dead, "dead letter");
  if (dead !== listed && isIdle()) {
    listed = dead;
    loadLetters(true);
  }
  say(answer.problem ? "problem" : "live", answer.problem ? "the relay is not ready" : "live");
}

// True while the reader does not use the list, so that it may change.
function isIdle() {
  return !loading && !$("letters").matches(":hover, :focus-within") && Date.now() - acted > ACTED;
}

function letter(each, item) {
  const did = h("span", { role: "status" });
  const message = each.message && each.message.tag ? each.message : null;
  const act = async (path, method, words) => {
    acted = Date.now();
    buttons.forEach((button) => { button.disabled = true; });
    try {
      await api(path, { method });
      fill(did, words);
      item.classList.add("done");
    } catch (error) {
      fill(did, trouble(error));
      buttons.forEach((button) => { button.disabled = false; });
    }
  };
  const address = `/api/dead/${each.sequence}`;
  item.retry = () => act(`${address}/retry`, "POST", "On its way again.");
  const buttons = isOperator ? [
    h("button", { type: "button", onclick: item.retry }, "Try again"),
    h("button", { type: "button", onclick: () => confirm("Give this dead letter up?") && act(address, "DELETE", "Given up.") }, "Give up"),
  ] : [];
  return [
    h("p", {}, time(each.at), " ", h("bdi", {}, each.room), " ", each.severity && [severity(each.severity), " ", h("bdi", { class: "tag" }, each.tag)]),
    h("p", { class: "headline" }, each.repeats && `${plural(each.repeats, "repeat")}, the last: `,
      message ? h("a", { href: messageAddress(message) }, h("bdi", {}, each.headline || "(no text)")) : h("bdi", {}, each.headline || each.id)),
    each.text && h("pre", {}, each.text),
    h("p", {}, "✗ ", h("bdi", {}, each.reason), each.tries ? ` (${plural(each.tries, "attempt")})` : ""),
    h("p", { class: "actions" }, buttons.flatMap((button) => [button, " "]), did),
  ];
}

async function loadLetters(anew) {
  loading = true;
  $("more").disabled = true;
  try {
    // A reload gets as many letters as before, so that pages loaded by the reader stay.
    const limit = anew ? Math.min(MOST, Math.max(PAGE, $("letters").childElementCount)) : PAGE;
    const query = new URLSearchParams({ limit, ...(room && { room }), ...(cursor && !anew && { cursor }) });
    const answer = await api(`/api/dead?${query}`);
    const items = answer.letters.map((each) => {
      const item = h("li");
      item.append(...letter(each, item).filter(Boolean));
      return item;
    });
    if (anew) $("letters").replaceChildren(...items);
    else $("letters").append(...items);
    fill($("unloaded"));
    cursor = answer.cursor;
    $("more").hidden = !cursor;
    $("none").hidden = $("letters").childElementCount > 0;
    $("retry-all").hidden = !isOperator || $("letters").childElementCount < 2;
  } catch (error) {
    fill($("unloaded"), trouble(error));
    // The list is loaded again with the next answer of the rooms.
    if (anew) listed = null;
  }
  loading = false;
  $("more").disabled = false;
}

if (room) {
  fill($("of"), " of room ", h("bdi", {}, room), " ", h("a", { href: "/rooms#dead" }, "all rooms"));
}
$("log-in").hidden = isOperator;
$("more").addEventListener("click", () => loadLetters(false));
$("retry-all").addEventListener("click", async () => {
  const items = [...$("letters").children].filter((item) => !item.matches(".done"));
  if (!confirm(`Try ${plural(items.length, "dead letter")} again?`)) return;
  $("retry-all").disabled = true;
  for (const item of items) await item.retry();
  $("retry-all").disabled = false;
});
poll(() => api("/api/rooms"), showRooms, (error) => {
  fill($("wrong"), trouble(error));
  say("lost", "not connected");
});
