// The page's filter and the relay's are one: the same cases as in relay/src/index/filter.rs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { filterCases, repository } from "./harness.mjs";

// A zone in which days do not begin with UTC's; node has it too, to compare with.
process.env.TZ = "America/New_York";
globalThis.document = { body: { dataset: { zone: "America/New_York" } } };

// The scripts are written for a browser; these need only a part of dom.js.
const source = (name) => readFileSync(join(repository, "relay/src/page/assets", name), "utf8");
const dom = source("dom.js").match(/export const SEVERITIES = .*;/)[0];
const script = dom + source("time.js") + source("filter.js").replace(/^import .*$/gm, "");
const { fromAddress, matches, parseTime, pick, toAddress, toQuery, typed, utc } = await import(`data:text/javascript,${encodeURIComponent(script)}`);

const NONE = fromAddress("");

for (const { why, filter, message, at, matches: wanted } of filterCases()) {
  test(why, () => assert.equal(matches({ ...NONE, ...filter }, message, at), wanted));
}

test("an address says what the filter says", () => {
  const address = "text=disk+%22full+now%22&tag=backup.%3E&tag=disk.*&severity=error&source=db1&since=1h";
  assert.equal(`${toAddress(fromAddress(`?${address}`))}`, address);
  assert.equal(`${toAddress(fromAddress("?tag=&severity=&text=x"))}`, "text=x");
});

test("one more value replaces what was wanted, and one more exclusion adds to it", () => {
  const filter = fromAddress("?source=db1&source=!db9&text=disk&severity=error");
  const picked = (...value) => decodeURIComponent(`${toAddress(pick(filter, ...value))}`);
  assert.equal(picked("source", "web1"), "text=disk&severity=error&source=!db9&source=web1");
  assert.equal(picked("source", "web1", true), "text=disk&severity=error&source=db1&source=!db9&source=!web1");
  assert.equal(picked("key", "a b"), "text=disk&severity=error&source=db1&source=!db9&key=a+b");
  assert.equal(picked("severity", "critical"), "text=disk&severity=critical&source=db1&source=!db9");
  assert.equal(picked("text", "shard=7"), 'text=disk+"shard=7"&severity=error&source=db1&source=!db9');
  assert.equal(picked("text", "shard=7", true), 'text=disk+!"shard=7"&severity=error&source=db1&source=!db9');
});

test("the relay gets times in UTC, and people see those they have typed", () => {
  const query = (text) => toQuery(fromAddress(`?${new URLSearchParams({ since: text })}`)).get("since");
  assert.equal(query("2026-11-25 03:00"), "2026-11-25T08:00:00.000Z");
  assert.equal(query("1h"), "1h");
  assert.equal(query("yesterday"), "yesterday", "the relay says what is wrong with it");
  // Summer and winter, and the hours around both changes of the clock.
  for (const text of ["2026-07-01 03:00", "2026-11-25 03:00:07", "2026-03-08 01:59", "2026-03-08 03:00", "2026-11-01 00:59", "2026-11-01 02:00"]) {
    assert.equal(typed(query(text)), text);
    assert.equal(Date.parse(query(text)), new Date(text.replace(" ", "T")).getTime(), text);
  }
  assert.equal(utc("2026-11-25T03:00:00.000Z"), "2026-11-25 03:00:00 UTC");
});

test("moments are read as people write them", () => {
  const now = Date.parse("2026-11-25T12:00:00Z");
  assert.equal(parseTime("1h", now), now - 3_600_000);
  assert.equal(parseTime("30 min", now), now - 1_800_000);
  assert.equal(parseTime("2026-11-25T03:00:00+01:00", now), Date.parse("2026-11-25T02:00:00Z"));
  assert.equal(parseTime("2026-11-25 03:00", now), new Date(2026, 10, 25, 3).getTime());
  assert.equal(parseTime("2026-11-25", now), new Date(2026, 10, 25).getTime());
  for (const guessed of ["yesterday", "1.12.2026", "12/1/2026", "25 Nov 2026", "2026", ""]) assert.ok(Number.isNaN(parseTime(guessed, now)), guessed);
});
