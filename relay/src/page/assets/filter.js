// The filter for live messages. The relay has the same rules for messages in the log (relay/src/index/filter.rs);
// filter_cases.json tests both.

import { SEVERITIES } from "./dom.js";
import { parse } from "./time.js";

// The parameters of the page's address. Those of MANY may be given several times, and a `!` before a value excludes it.
export const MANY = ["tag", "source", "host", "key", "status"];
export const NAMES = ["text", "tag", "severity", "source", "host", "key", "status", "since", "until"];
const AGO = /^(\d{1,6}) ?(s|min|m|h|d|w)$/;
const UNITS = { s: 1, min: 60, m: 60, h: 3600, d: 86400, w: 604800 };

// Reads a filter from an address; empty values are left out.
export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const all = (name) => given.getAll(name).filter(Boolean);
  return Object.fromEntries(NAMES.map((name) => [name, MANY.includes(name) ? all(name) : all(name)[0] || ""]));
}

export function toAddress(filter) {
  const given = new URLSearchParams();
  for (const name of NAMES) {
    for (const value of [filter[name]].flat().filter(Boolean)) given.append(name, value);
  }
  return given;
}

// The parameters of the API, which does not know the page's zone.
export function toQuery(filter) {
  const query = toAddress(filter);
  for (const name of ["since", "until"]) {
    const at = parse(filter[name]);
    if (!Number.isNaN(at)) query.set(name, new Date(at).toISOString());
  }
  return query;
}

// The filter for one more value: it replaces other wanted values of its name; with `not` it is excluded as well.
export function pick(filter, name, value, not) {
  if (name === "text") return { ...filter, text: `${filter.text} ${not ? "!" : ""}"${value}"`.trim() };
  if (!MANY.includes(name)) return { ...filter, [name]: value };
  const kept = filter[name].filter((each) => not || each.startsWith("!"));
  return { ...filter, [name]: [...kept, not ? `!${value}` : value] };
}

export const isEmpty = (filter) => toAddress(filter).size === 0;

// A time in ms: a date and time, a day, or a time ago such as 1h. NaN for any other text: the relay reports what is wrong
// with it.
export function parseTime(text, now = Date.now()) {
  const [, number, unit] = AGO.exec(text) || [];
  return unit ? now - number * UNITS[unit] * 1000 : parse(text.trim());
}

// The words of a search, in lower case: separated by blanks, or together in double quotes. A `!` before a word or a quote
// excludes it; it stays before the word.
export function words(text) {
  let sign = "";
  return text.split('"').flatMap((part, i) => {
    const lower = part.toLowerCase();
    if (i % 2 === 1) return [[sign, lower]];
    sign = /(^|\s)!$/.test(lower) ? "!" : "";
    return lower.split(/\s+/).map((word) => (word.startsWith("!") ? ["!", word.slice(1)] : ["", word]));
  }).filter(([, word]) => word);
}

// The searchable parts of a message, in lower case, one per line.
export function haystack(message) {
  const parts = [message.tag, message.source, message.id, message.title, message.key, message.host, message.user, message.run?.command];
  for (const [name, value] of Object.entries(message.fields || {})) parts.push(`${name}=${value}`);
  for (const { url, title } of message.links || []) parts.push(`${title || ""} ${url}`);
  parts.push(message.text || "");
  return parts.filter((part) => part !== undefined && part !== null).join("\n").toLowerCase();
}

function covers(pattern, tag) {
  const [want, have] = [pattern.split("."), tag.split(".")];
  for (let i = 0; i < want.length; i++) {
    if (want[i] === ">") return have.length > i;
    if (have[i] === undefined || (want[i] !== "*" && want[i] !== have[i])) return false;
  }
  return have.length === want.length;
}

// True if one of the wanted values, if there are any, and none of the excluded ones, is the message's.
function takes(values, is) {
  const wanted = values.filter((value) => !value.startsWith("!"));
  const excluded = values.filter((value) => value.startsWith("!"));
  return (!wanted.length || wanted.some(is)) && !excluded.some((value) => is(value.slice(1)));
}

// True if a message matches the filter; `at` is its time in the stream.
export function matches(filter, message, at) {
  const severity = message.severity || "info";
  const when = Date.parse(at);
  if (filter.severity && SEVERITIES.indexOf(severity) < SEVERITIES.indexOf(filter.severity)) return false;
  if (filter.since && when < parseTime(filter.since)) return false;
  if (filter.until && when >= parseTime(filter.until)) return false;
  if (!takes(filter.tag, (pattern) => covers(pattern, message.tag))) return false;
  if (!MANY.every((name) => name === "tag" || takes(filter[name], (value) => value === message[name]))) return false;
  const asked = words(filter.text);
  if (!asked.length) return true;
  const text = haystack(message);
  return asked.every(([sign, word]) => text.includes(word) === !sign);
}
