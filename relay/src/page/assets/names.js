// Sources or tags, each with its last message and its counts.

import { api, poll, trouble } from "./api.js";
import { $, ago, count, fill, h, missing, plural, say, searchAddress, severity } from "./dom.js";

const kind = location.pathname === "/tags" ? "tags" : "sources";
const parameter = kind === "tags" ? "tag" : "source";
const MOST = 2; // pages: the relay counts all messages again for each
const EVERY = 10_000; // ms

const ORDERS = {
  last: (a, b) => b.last.localeCompare(a.last),
  name: (a, b) => a.name.localeCompare(b.name),
  count: (a, b) => b.count - a.count,
  day: (a, b) => day(b) - day(a),
};
let order = "last";
let names = [];
let incomplete = null;

const day = (each) => each.hours.reduce((sum, hour) => sum + hour, 0);

// A chart of the last 24 hours, one bar for each hour.
function spark(hours) {
  const most = Math.max(1, ...hours);
  const bars = hours.map((hour) => "▁▂▃▄▅▆▇█"[Math.min(7, Math.ceil((hour / most) * 7))]);
  return h("span", { class: "spark", role: "img", "aria-label": `last 24 hours: ${plural(hours.reduce((a, b) => a + b, 0), "message")}, ${most} in the busiest hour` }, bars.join(""));
}

function row(each) {
  return h("tr", {},
    h("th", { scope: "row" }, h("a", { href: searchAddress({ [parameter]: each.name }) }, h("bdi", {}, each.name)), each.host && each.host !== each.name && h("small", {}, " ", h("bdi", {}, each.host))),
    h("td", { "data-name": "last message" }, ago(each.last)),
    h("td", { "data-name": "worst in 24 h" }, each.worst ? severity(each.worst) : "–"),
    h("td", { "data-name": "last 24 hours" }, spark(each.hours)),
    h("td", { class: "number", "data-name": "in 24 h" }, count(day(each))),
    h("td", { class: "number", "data-name": "in the log" }, count(each.count)));
}

function show() {
  const wanted = $("wanted").value.toLowerCase();
  const shown = names.filter((each) => `${each.name} ${each.host || ""}`.toLowerCase().includes(wanted)).sort(ORDERS[order]);
  fill($("names"), shown.map(row));
  fill($("note"), shown.length ? plural(shown.length, parameter) : names.length ? "no name contains this" : "no messages yet",
    incomplete && `; ${missing(incomplete)}`);
  for (const head of document.querySelectorAll("th[data-order]")) {
    if (head.dataset.order === order) head.setAttribute("aria-sort", order === "name" ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
}

async function ask() {
  const all = [];
  let cursor = null;
  for (let page = 0; page < MOST; page++) {
    const answer = await api(`/api/${kind}?${new URLSearchParams(cursor ? { cursor } : {})}`);
    all.push(...answer.names);
    ({ incomplete } = answer);
    cursor = answer.cursor;
    if (!cursor) break;
  }
  return all;
}

$("wanted").addEventListener("input", show);
for (const head of document.querySelectorAll("th[data-order] button")) {
  head.addEventListener("click", () => {
    order = head.parentElement.dataset.order;
    show();
  });
}
poll(ask, (all) => {
  names = all;
  show();
  say("live", "live");
}, (error) => {
  fill($("note"), trouble(error));
  say("lost", "not connected");
}, EVERY);
