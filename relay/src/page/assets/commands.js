// The command box, and what was asked in all chats as a conversation.

import { api, poll, trouble } from "./api.js";
import { $, attached, fill, h, say, time } from "./dom.js";

const EVERY = 3_000; // ms
const PAGE = 100; // entries loaded at once
const SILENCE = 30_000; // ms without a word, after which an answer is given up
const WORDS = {
  asked: "asked", denied: "✗ denied", refused: "✗ not understood", waiting: "… waits", approved: "✓ approved",
  declined: "✗ dropped", done: "✓", failed: "✗ failed", unknown: "? outcome unknown",
};
const PICTURE = /\.(png|jpe?g|gif|webp)$/i; // the audit knows better, a moment later
const older = []; // pages that were loaded by hand
let newest = { entries: [], cursor: null };

// The entries of one command together, each group and its entries in the order of their times.
function conversations() {
  const groups = new Map();
  const all = [...newest.entries, ...older.flatMap((page) => page.entries)];
  const seen = new Set();
  for (const entry of all) {
    const key = `${entry.id} ${entry.kind}`;
    if (seen.has(key)) continue;
    seen.add(key);
    if (!groups.has(entry.id)) groups.set(entry.id, []);
    groups.get(entry.id).unshift(entry);
  }
  return [...groups.values()];
}

function outcome({ kind, time: at, text, files }) {
  return h("div", { class: `outcome ${kind}` },
    h("p", {}, h("span", { class: "kind" }, WORDS[kind] ?? kind), " ", time(at), kind === "waiting" && ` ${text}`, kind === "approved" && ` ${text}`),
    text && !["waiting", "approved", "declined"].includes(kind) && h("pre", { tabindex: "0", "aria-label": "Answer" }, text),
    files && h("p", { class: "files" }, files.map(attached)));
}

function conversation(entries) {
  const [first] = entries;
  const who = first.person ?? first.account ?? first.speaker;
  const line = [first.command, ...(first.args ?? [])].join(" ");
  // That it was asked needs no line of its own once there is an answer.
  const rest = entries.filter(({ kind }) => kind !== "asked");
  return h("li", { id: first.id },
    h("p", {}, time(first.time), " ", h("b", {}, h("bdi", {}, who || "somebody")), ` in ${first.room}: `, h("code", {}, line), " ", h("small", {}, first.id)),
    rest.length ? rest.map(outcome) : h("p", { class: "note" }, "no answer yet"));
}

function show() {
  fill($("asked"), conversations().map(conversation));
  const { cursor } = older.at(-1) ?? newest;
  $("older").hidden = !cursor;
}

// Says a line and shows the answers as they come.
async function ask(line) {
  const place = h("div", { class: "answer" }, h("p", {}, h("code", {}, line)), h("p", { class: "note" }, "asking …"));
  $("running").prepend(place);
  const told = (...what) => fill(place, h("p", {}, h("code", {}, line)), what);
  const enough = new AbortController();
  let silence = setTimeout(() => enough.abort(), SILENCE);
  try {
    const response = await fetch("/api/commands", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ line }), signal: enough.signal,
    });
    if (!response.ok) {
      const problem = await response.json().catch(() => ({}));
      throw Object.assign(new Error(problem.detail || `the relay answered ${response.status}`), { status: response.status });
    }
    let text = "";
    const decoder = new TextDecoder();
    const begun = Date.now();
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      clearTimeout(silence);
      silence = setTimeout(() => enough.abort(), SILENCE);
      text += decoder.decode(part.value, { stream: true });
      const lines = text.split("\n");
      text = lines.pop();
      for (const each of lines.filter(Boolean).map((json) => JSON.parse(json))) {
        if (each.answer === undefined) told(h("p", { class: "note" }, `running, ${Math.round((Date.now() - begun) / 1000)} s … ${each.progress}`));
        else told(h("pre", { class: each.failed ? "failed" : "done", tabindex: "0", "aria-label": "Answer" }, each.answer || "done"),
          each.files && h("p", { class: "files" }, each.files.map((file) => attached({ ...file, picture: PICTURE.test(file.name) }))));
      }
    }
  } catch (error) {
    told(trouble(error.name === "AbortError" ? new Error("the relay has stopped answering: outcome unknown") : error));
  } finally {
    clearTimeout(silence);
    refresh();
  }
}

$("asking").addEventListener("submit", (event) => {
  event.preventDefault();
  const line = $("line").value.trim();
  if (!line) return;
  $("line").value = "";
  while ($("running").childElementCount >= 5) $("running").lastElementChild.remove();
  ask(line);
});
$("older").addEventListener("click", async () => {
  try {
    older.push(await api(`/api/audit?limit=${PAGE}&cursor=${(older.at(-1) ?? newest).cursor}`));
    show();
  } catch (error) {
    fill($("note"), trouble(error));
  }
});
$("nobody").hidden = "needs" in document.body.dataset;
$("asking").querySelector("button").disabled = false;
const refresh = poll(() => api(`/api/audit?limit=${PAGE}`), (next) => {
  newest = next;
  fill($("note"));
  show();
  say("live", "live");
}, (error) => {
  fill($("note"), trouble(error));
  say("lost", "not connected");
}, EVERY);
