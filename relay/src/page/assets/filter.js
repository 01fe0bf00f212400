// The filter for live messages. The relay has the same rules for messages in the log (relay/src/index/filter.rs);
// filter_cases.json tests both.

import { SEVERITIES } from "./dom.js";

export const NAMES = ["text", "tag", "severity", "source", "since", "until"];
const UNITS = { s: 1, min: 60, m: 60, h: 3600, d: 86400, w: 604800 };

// Reads a filter from an address; empty values are left out.
export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const all = (name) => given.getAll(name).filter(Boolean);
  const [text, severity, since, until] = ["text", "severity", "since", "until"].map((name) => all(name)[0] || "");
  return { tag: all("tag"), severity, source: all("source"), text, since, until };
}

export function toAddress(filter) {
  const given = new URLSearchParams();
  for (const name of NAMES) {
    for (const value of [filter[name]].flat().filter(Boolean)) given.append(name, value);
  }
  return given;
}

export const isEmpty = (filter) => toAddress(filter).size === 0;

// A time in ms: RFC 3339, a day, or a time ago such as 1h. NaN for any other text: browsers would guess, and the relay
// reports what is wrong with it.
export function parseTime(text, now = Date.now()) {
  const [, number, unit] = /^(\d{1,6}) ?(s|min|m|h|d|w)$/.exec(text) || [];
  if (unit) return now - number * UNITS[unit] * 1000;
  const moment = text.trim().replace(" ", "T");
  if (!/^\d{4}-\d\d-\d\d/.test(moment)) return NaN;
  // Without a zone, the reader's own is used; a day means its first second.
  return Date.parse(moment.length > 10 ? moment : `${moment}T00:00`);
}

// The words of a search, in lower case: separated by blanks, or together in double quotes.
export function words(text) {
  return text.split('"').flatMap((part, i) => {
    const lower = part.toLowerCase();
    return i % 2 === 1 ? [lower] : lower.split(/\s+/);
  }).filter(Boolean);
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

// True if a message matches the filter; `at` is its time in the stream.
export function matches(filter, message, at) {
  const severity = message.severity || "info";
  const when = Date.parse(at);
  if (filter.severity && SEVERITIES.indexOf(severity) < SEVERITIES.indexOf(filter.severity)) return false;
  if (filter.since && when < parseTime(filter.since)) return false;
  if (filter.until && when >= parseTime(filter.until)) return false;
  if (filter.tag.length && !filter.tag.some((pattern) => covers(pattern, message.tag))) return false;
  if (filter.source.length && !filter.source.includes(message.source)) return false;
  const wanted = words(filter.text);
  if (!wanted.length) return true;
  const text = haystack(message);
  return wanted.every((word) => text.includes(word));
}
