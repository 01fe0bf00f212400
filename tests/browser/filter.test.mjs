// The page's filter and the relay's are one: the same cases as in relay/src/index/filter.rs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { filterCases, repository } from "./harness.mjs";

// A zone in which days do not begin with UTC's.
process.env.TZ = "America/New_York";

// The scripts are written for a browser; this one needs only a part of dom.js.
const source = (name) => readFileSync(join(repository, "relay/src/page/assets", name), "utf8");
const dom = source("dom.js").match(/export const SEVERITIES = .*;/)[0];
const script = source("filter.js").replace(/^import .*$/m, dom);
const { fromAddress, matches, parseTime, toAddress } = await import(`data:text/javascript,${encodeURIComponent(script)}`);

const NONE = { tag: [], severity: "", source: [], text: "", since: "", until: "" };

for (const { why, filter, message, at, matches: wanted } of filterCases()) {
  test(why, () => assert.equal(matches({ ...NONE, ...filter }, message, at), wanted));
}

test("an address says what the filter says", () => {
  const address = "text=disk+%22full+now%22&tag=backup.%3E&tag=disk.*&severity=error&source=db1&since=1h";
  assert.equal(`${toAddress(fromAddress(`?${address}`))}`, address);
  assert.equal(`${toAddress(fromAddress("?tag=&severity=&text=x"))}`, "text=x");
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
