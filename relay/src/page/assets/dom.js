// Building blocks of every view. Data from the relay is put on the page as text, never as markup.

import { full, moment, utc } from "./time.js";

export const $ = (id) => document.getElementById(id);

export const SEVERITIES = ["debug", "info", "notice", "warning", "error", "critical"];
const SHAPES = { debug: "·", info: "○", notice: "●", warning: "▲", error: "◆", critical: "■" };
const STATUSES = { started: "▸", succeeded: "✓", failed: "✗", resolved: "✓" };

// Colours and titles that programs write for a terminal.
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b\n]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b\n]*(?:\u001b\\)?|[ -/]*[0-~])/g;
// Invisible characters with effects: controls, and those that change the direction of text, so that gnp.exe would
// read exe.png.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

export function plain(text) {
  return String(text).replaceAll("\r\n", "\n").replace(ESCAPES, "").replace(UNSEEN, "\ufffd");
}

const listening = new WeakSet(); // elements with listeners of their own

// An element with attributes and children; texts among them become text.
export function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) {
      made.addEventListener(key.slice(2), value);
      listening.add(made);
    } else {
      made.setAttribute(key, value === true ? "" : value);
    }
  }
  made.append(...nodes(children));
  return made;
}

function nodes(children) {
  const shown = children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false);
  return shown.map((child) => (child instanceof Node ? child : document.createTextNode(plain(child))));
}

// Shows children in an element and leaves unchanged nodes alone: focus, selection and open folds stay, and a screen
// reader does not read anything twice.
export function fill(place, ...children) {
  let now = place.firstChild;
  for (const next of nodes(children)) {
    const after = now?.nextSibling;
    if (now) patch(now, next);
    else place.append(next);
    now = after;
  }
  while (now) {
    const after = now.nextSibling;
    now.remove();
    now = after;
  }
}

function patch(now, next) {
  if (now.isEqualNode(next)) return;
  if (now.nodeName !== next.nodeName || listening.has(now) || listening.has(next)) {
    now.replaceWith(next);
    return;
  }
  if (now instanceof Text) {
    now.data = next.data;
    return;
  }
  // The reader opens and closes folds, so their state is kept.
  const ours = ({ name }) => name !== "open" || now.nodeName !== "DETAILS";
  for (const { name } of [...now.attributes].filter(ours)) if (!next.hasAttribute(name)) now.removeAttribute(name);
  for (const { name, value } of [...next.attributes].filter(ours)) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  fill(now, ...next.childNodes);
}

export function time(at, text = moment(at)) {
  return h("time", { datetime: at, title: utc(at) }, text);
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.round((seconds % 86400) / 3600)} h`;
}

export function ago(at) {
  const seconds = Math.max(0, (Date.now() - new Date(at)) / 1000);
  const text = seconds < 5 ? "now" : seconds < 10 ? `${Math.round(seconds)} s ago` : `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
  return time(at, text);
}

export const count = (number) => number.toLocaleString("en-US").replaceAll(",", "\u202f");

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// A severity has a shape, a word and a colour: never a colour alone.
export function severity(name) {
  return h("span", { class: `severity ${name}` }, h("span", {}, `${SHAPES[name]} ${name}`));
}

export function status(name, words = name) {
  return h("span", { class: `status ${name}`, title: name }, `${STATUSES[name]} ${words}`.trim());
}

export function headline(message) {
  const first = (message.text || "").split("\n").map((line) => line.trim()).find(Boolean) || "";
  return (message.title || "").trim() || first || "(no text)";
}

export function link(url, title) {
  if (!/^https?:\/\//i.test(url)) return document.createTextNode(plain(title ? `${title}: ${url}` : url));
  return h("a", { href: url, title: plain(url), rel: "noopener noreferrer", target: "_blank" }, title || url);
}

function ending(run) {
  const how = run.signal != null ? `signal ${run.signal}` : run.exit != null ? `exit ${run.exit}` : "running";
  return run.duration != null ? `${run.command}: ${how} after ${duration(run.duration)}` : `${run.command}: ${how}`;
}

// A list of names and values; empty values are left out.
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", {}, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

// A value of a message with two links: to the messages with it, and to those without it. `address` makes the address of a
// filter's name and value.
export function choice(address, name, value, ...shown) {
  // A key or host that begins with the sign of exclusion cannot be asked for.
  if (!value || value.startsWith("!")) return value;
  return [
    h("a", { href: address(name, value) }, shown.length ? shown : h("bdi", {}, value)), " ",
    name !== "severity" && h("a", { class: "without", href: address(name, value, true), "aria-label": `without ${value}`, title: `without ${value}` }, "≠"),
  ];
}

// A picture, or a link to another file.
export function attached({ name, object, picture, bytes }) {
  const href = `/api/files/${encodeURIComponent(object)}`;
  if (picture) return h("a", { href }, h("img", { src: href, alt: name, loading: "lazy" }));
  return h("a", { href, download: name }, h("bdi", {}, name), bytes ? ` (${Math.ceil(bytes / 1024)} KiB)` : "");
}

// All parts of a message except its headline.
export function body({ sequence, at, message, marks }, address) {
  const text = message.text || "";
  // A quote cannot stand in words that stand together.
  const quoted = (name, value) => `${name}=${value}`.split(/["\n]/)[0];
  return [
    text.trim() && text.trim() !== headline(message) ? h("pre", { tabindex: "0", "aria-label": "Text" }, text) : null,
    message.files && h("p", { class: "files" }, message.files.map(attached)),
    facts([
      ["tag", choice(address, "tag", message.tag)],
      ["source", choice(address, "source", message.source)],
      ["severity", choice(address, "severity", message.severity || "info", `${message.severity || "info"} and above`)],
      ["status", choice(address, "status", message.status)],
      ["key", choice(address, "key", message.key)],
      ["host", choice(address, "host", message.host)],
      ...Object.entries(message.fields || {}).map(([name, value]) => [name, choice(address, "text", quoted(name, value), h("bdi", {}, value))]),
      ...(message.links || []).map(({ url, title }) => ["link", link(url, title)]),
      ["command", message.run && ending(message.run)],
      ["user", message.user],
      ["note", marks.join("; ")],
      ["time", time(at, full(at))],
      ["id", message.id],
      ["sequence", sequence],
    ]),
  ];
}

// Buttons for an address of the page, and for what the API answers to the same. Their script is loaded when the first is
// about to be used: a browser copies only at once after a click.
export function tools(address, path = `/api${address}`) {
  const load = () => import("./copy.js");
  const button = (name) => h("button", {
    type: "button", class: "quiet", onpointerenter: load, onfocus: load,
    onclick: async ({ currentTarget }) => (await load()).take(currentTarget, name, address, path),
  }, name);
  return h("span", { class: "take" }, button("Copy link"), button("Copy as curl"));
}

// The reason why an answer may be incomplete.
export const missing = ({ reason, before }) => (before ? `${reason}, before ${full(before)}` : reason);

export const messageAddress = (message) => `/messages/${encodeURIComponent(message.id)}`;
export const searchAddress = (parts) => `/?${new URLSearchParams(parts)}`;

// Shows the state of the page itself, beside the navigation.
export function say(state, ...what) {
  const place = $("connection");
  place.dataset.state = state;
  fill(place, what);
}
