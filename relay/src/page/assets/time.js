// Times in the configured zone, as in the rooms, with UTC on hover.

export const ZONE = document.body.dataset.zone;

const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, ...options });
const CLOCK = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = format({ day: "2-digit", month: "short" });
const DATE = format({ dateStyle: "medium" });
const SHORT = format({ hour: "2-digit", minute: "2-digit" });
const FULL = format({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
const NUMBERS = format({ year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });

// A time of today with its seconds, an earlier one with its day.
export function moment(at) {
  const when = new Date(at);
  if (DATE.format(when) === DATE.format()) return CLOCK.format(when);
  return `${DAY.format(when)} ${SHORT.format(when)}`;
}

export const full = (at) => FULL.format(new Date(at));

export const utc = (at) => `${new Date(at).toISOString().replace("T", " ").replace(/(\.000)?Z$/, "")} UTC`;

// As people type it: 2026-11-25 03:00, with seconds if there are any.
export function typed(at) {
  const part = Object.fromEntries(NUMBERS.formatToParts(new Date(at)).map(({ type, value }) => [type, value]));
  return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}${part.second === "00" ? "" : `:${part.second}`}`;
}

// The moment, in ms, of a date or a date and time. Without a zone of its own, it is in the page's; a day means its first
// second. NaN for any other text: browsers would guess.
export function parse(text) {
  if (!/^\d{4}-\d\d-\d\d([T ]|$)/.test(text)) return NaN;
  const moment = text.length > 10 ? text.replace(" ", "T") : `${text}T00:00`;
  if (/(Z|[+-]\d\d:\d\d)$/i.test(moment)) return Date.parse(moment);
  const there = Date.parse(`${moment}Z`);
  if (Number.isNaN(there)) return NaN;
  const ahead = (at) => Date.parse(`${typed(at).replace(" ", "T")}Z`) - Math.floor(at / 1000) * 1000;
  // The second step is for the hours around a change of the clock.
  return there - ahead(there - ahead(there));
}
