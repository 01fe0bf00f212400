// The things that failed or started and are not over, the worst first.

import { api, poll, trouble } from "./api.js";
import { $, ago, fill, h, messageAddress, missing, plural, say, searchAddress, severity, time } from "./dom.js";

const MOST = 500; // problems loaded at once
const EVERY = 5_000; // ms
const STATES = { failed: "✗ failed", no_end: "▲ no end was told", running: "▸ running" };
let answer = { problems: [], total: 0, incomplete: null };

function state({ state: name, failures, again, due }) {
  return [
    h("span", { class: `state ${name}` }, STATES[name]),
    failures > 1 && ` ${plural(failures, "time")}`,
    again && ", running again",
    name === "no_end" && [", expected by ", time(due)],
  ];
}

function row(problem) {
  const { source, key, sequence } = problem;
  return h("tr", { class: problem.worst },
    h("td", { "data-name": "severity" }, severity(problem.worst)),
    h("td", { "data-name": "state" }, state(problem)),
    h("td", { "data-name": "since" }, ago(problem.since)),
    h("td", { "data-name": "source" }, h("a", { href: searchAddress({ source }) }, h("bdi", {}, source))),
    h("th", { "data-name": "key", scope: "row" }, h("a", { href: searchAddress({ source, key }) }, h("bdi", {}, key))),
    h("td", { "data-name": "last message" }, h("a", { href: messageAddress({ id: `seq-${sequence}` }) }, h("bdi", {}, problem.headline || "(no text)"))));
}

function show() {
  const wanted = $("wanted").value.toLowerCase();
  const of = ({ source, key, tag, headline }) => `${source} ${key} ${tag} ${headline}`.toLowerCase();
  const shown = answer.problems.filter((each) => of(each).includes(wanted));
  const open = shown.filter((each) => each.state !== "running");
  fill($("open"), open.map(row));
  fill($("running"), shown.filter((each) => each.state === "running").map(row));
  $("open-table").hidden = open.length === 0;
  $("running-part").hidden = shown.length === open.length;
  $("none").hidden = open.length > 0 || Boolean(answer.incomplete);
  fill($("note"), wanted && shown.length === 0 ? "none contains this" : plural(open.length, "open problem"),
    answer.total > answer.problems.length && `; of ${answer.total} the worst ${answer.problems.length} are shown`,
    answer.incomplete && `; ${missing(answer.incomplete)}`);
}

$("wanted").addEventListener("input", show);
poll(() => api(`/api/problems?limit=${MOST}`), (next) => {
  answer = next;
  show();
  say("live", "live");
}, (error) => {
  fill($("note"), trouble(error));
  say("lost", "not connected");
}, EVERY);
