// The rooms: what each is doing, and what they could never take.

import { api, isOperator, poll, trouble } from "./api.js";
import { $, ago, count, duration, fill, h, messageAddress, plural, say, severity, time } from "./dom.js";

const PAGE = 50; // dead letters loaded at once
const MOST = 500; // that the relay gives at once
const ACTED = 60_000; // how long it is kept in sight what came of an action, in ms
const STATES = { ok: "● ok", retrying: "↻ retrying", broken: "■ broken", unknown: "○ not heard of yet" };
const ROLES = {
  leading: "This relay leads.",
  standing_by: "This relay stands by: the leading one knows how its rooms are.",
  starting: "This relay is starting.",
  stopping: "This relay is stopping.",
};
const room = new URLSearchParams(location.search).get("room") || "";
let cursor = null;
let loading = false;
let listed = null; // how many dead letters there were when the list was loaded
let acted = 0; // when somebody last did something about one

function limiter(limits) {
  if (!limits) return "no limit";
  const pace = `${limits.burst} at once, then one each ${duration(limits.every)}`;
  return limits.wait > 0 ? `${pace}; the next in ${duration(limits.wait)}` : `${pace}; ${limits.tokens} free now`;
}

function row(each) {
  const last = each.attempts.at(-1);
  return h("tr", { class: each.state },
    h("th", { scope: "row" }, h("bdi", {}, each.name), h("small", {}, ` ${each.kind}${each.is_default ? ", default" : ""}`)),
    h("td", {}, h("span", { class: `state ${each.state}` }, STATES[each.state]), each.state === "retrying" && ` try ${each.tries}`),
    h("td", { class: "number" }, count(each.pending)),
    h("td", {}, limiter(each.limiter)),
    h("td", {}, each.last_success ? ago(each.last_success) : "–"),
    h("td", {}, each.last_error ? [ago(each.last_error_at), " ", h("bdi", {}, (last && each.state === "retrying" && last.answer) || each.last_error)] : "–"),
    h("td", { class: "number" }, each.dead ? h("a", { href: `/rooms?room=${encodeURIComponent(each.name)}#dead` }, count(each.dead)) : "0"));
}

function showRooms(found) {
  fill($("role"), ROLES[found.role], found.dev_room && ` Environment dev: everything goes to ${found.dev_room} and nowhere else.`);
  const wrong = [found.problem && `Not ready: ${found.problem}`, found.config_error && `The changed configuration is refused, the old one stays in force:\n${found.config_error}`].filter(Boolean);
  fill($("wrong"), wrong.map((text) => h("pre", {}, text)));
  fill($("rooms"), found.rooms.map(row));
  if ($("dead").hidden) {
    $("dead").hidden = false;
    // Only now is there where the address points to.
    if (location.hash === "#dead") $("dead").scrollIntoView();
  }
  const dead = found.rooms.reduce((sum, each) => sum + each.dead, 0);
  $("dead-count").textContent = plural(dead, "dead letter");
  if (dead !== listed && isIdle()) {
    listed = dead;
    loadLetters(true);
  }
  say(found.problem ? "problem" : "live", found.problem ? "the relay is not ready" : "live");
}

// Nobody is in the list: it may change.
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
    h("p", {}, time(each.at), " ", h("bdi", {}, each.room), " ", message && [severity(message.severity || "info"), " ", h("bdi", { class: "tag" }, message.tag)]),
    h("p", { class: "headline" }, message ? h("a", { href: messageAddress(message) }, h("bdi", {}, message.title || message.text || "(no text)")) : h("bdi", {}, each.id)),
    h("p", {}, "✗ ", h("bdi", {}, each.reason), each.tries ? ` (${plural(each.tries, "try", "tries")})` : ""),
    h("p", { class: "actions" }, buttons.flatMap((button) => [button, " "]), did),
  ];
}

async function loadLetters(anew) {
  loading = true;
  $("more").disabled = true;
  try {
    // As many as there were: what somebody went on to stays.
    const limit = anew ? Math.min(MOST, Math.max(PAGE, $("letters").childElementCount)) : PAGE;
    const query = new URLSearchParams({ limit, ...(room && { room }), ...(cursor && !anew && { cursor }) });
    const found = await api(`/api/dead?${query}`);
    const items = found.letters.map((each) => {
      const item = h("li");
      item.append(...letter(each, item).filter(Boolean));
      return item;
    });
    if (anew) $("letters").replaceChildren(...items);
    else $("letters").append(...items);
    fill($("unloaded"));
    cursor = found.cursor;
    $("more").hidden = !cursor;
    $("none").hidden = $("letters").childElementCount > 0;
    $("retry-all").hidden = !isOperator || $("letters").childElementCount < 2;
  } catch (error) {
    fill($("unloaded"), trouble(error));
    // Then it is tried again.
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
