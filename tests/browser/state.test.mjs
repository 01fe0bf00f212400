// The state of everything in the header of every view, open problems, and the filter by clicks.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { headlines, hide, isLive, rows, shows, taken, until } from "./harness.mjs";

const PAGER = '[[routes]]\nname = "all"\nrooms = ["pager"]\n';
const health = (page) => page.locator("#health").innerText();
const color = (page, selector, pseudo) => page.locator(selector).first().evaluate((it, pseudo) => getComputedStyle(it, pseudo).color, pseudo);
const VIEWS = ["/", "/problems", "/rooms", "/sources", "/tags", "/commands", "/explain", "/tell"];

shows("every view says what is wrong, and is green only when all is well", { rooms: { pager: taken }, routes: PAGER }, async (made, user) => {
  const { id, sequence } = await made.publish("db1", "job", { text: "fine" });
  const page = await user.page();
  await page.locator('[data-health="well"]').waitFor();
  await isLive(page);
  assert.equal(await health(page), "all is well");
  const green = await color(page, "#health a");
  assert.equal(await color(page, "#connection", "::before"), green);
  await page.locator("#last a").click();
  await page.waitForURL(`**/messages/seq-${sequence}`);

  made.sinks.pager.answer(() => ({ status: 502, text: "Bad Gateway" }));
  await made.publish("db1", "job", { severity: "critical", text: "wake up" });
  for (const path of [...VIEWS, `/messages/${id}`]) {
    await page.goto(path);
    const part = page.locator("#health a", { hasText: "1 room fails: pager" });
    await part.waitFor();
    assert.equal(await part.getAttribute("href"), "/rooms", path);
    assert.equal(await page.locator("header").getAttribute("data-health"), "wrong");
    if (path === "/") {
      await isLive(page);
      assert.notEqual(await color(page, "#connection", "::before"), green, "live beside a room that fails is not green");
    }
  }
  made.sinks.pager.answer(taken);
  await page.locator('[data-health="well"]').waitFor();

  made.sinks.pager.answer(() => ({ status: 404 }));
  await made.publish("db1", "job", { text: "to nowhere" });
  await page.locator("#health a", { hasText: /\d dead letter/ }).waitFor();
  const config = join(made.folder, "relay.toml");
  const before = readFileSync(config, "utf8");
  writeFileSync(config, before.replace('default_room = "page"', 'default_room = "none"'));
  await page.locator("#health a", { hasText: "the changed configuration is refused" }).click();
  await page.locator("#wrong").getByText(/default_room/).first().waitFor();
  await made.relay.kill();
  await page.locator("#health a", { hasText: "the relay cannot be reached" }).waitFor();
});

shows("a delivery that waits for minutes is told, with how long", { rooms: { pager: taken } }, async (made, user) => {
  const page = await user.context.newPage();
  await page.route("**/api/status", async (route) => {
    const response = await route.fetch();
    const minutes = (number) => new Date(Date.now() - number * 60_000).toISOString();
    const waiting = [{ room: "pager", pending: 2, oldest: minutes(22.5) }, { room: "dba", pending: 1, oldest: minutes(2) }];
    await route.fulfill({ response, json: { ...(await response.json()), well: false, waiting, problem: "the server nats-1 is gone" } });
  });
  await page.goto("/tags");
  await page.locator("#health a", { hasText: "3 deliveries wait for 22 minutes: pager, dba" }).waitFor();
  await page.locator("#health a", { hasText: "the relay is not ready: the server nats-1 is gone" }).waitFor();
});

shows("the tab's title and icon show unread critical messages", {}, async (made, user) => {
  const page = await user.page();
  await isLive(page);
  const icon = () => page.locator("link[rel=icon]").evaluate(({ href }) => href.split("/").pop());
  await hide(page, true);
  await made.publish("web1", "tick", { text: "one" });
  await until("it is counted", async () => (await page.title()) === "(1) Messages · hal");
  assert.equal(await icon(), "icon.svg");
  await made.publish("web1", "tick", { severity: "critical", text: "two" });
  await until("it is told", async () => (await page.title()) === "■ 1 critical (2) Messages · hal");
  assert.equal(await icon(), "icon-critical.svg");
  assert.equal((await page.request.get(await page.locator("link[rel=icon]").evaluate(({ href }) => href))).status(), 200);
  await hide(page, false);
  assert.deepEqual([await page.title(), await icon()], ["Messages · hal", "icon.svg"]);
  await page.getByRole("button", { name: "Pause" }).click();
  await made.publish("web1", "tick", { severity: "critical", text: "three" });
  await page.getByRole("button", { name: "↑ 1 new message, 1 critical" }).waitFor();
});

const about = (made, source, key, status, severity, more) => made.publish(source, "job", { key, status, severity, title: `${key} ${status}`, ...more });

shows("what failed is an open problem until it is over", {}, async (made, user) => {
  await about(made, "db1", "backup", "failed", "error");
  await about(made, "web1", "replication", "failed", "critical");
  await about(made, "web1", "deploy", "failed", "critical");
  await about(made, "web1", "deploy", "succeeded", "info");
  await about(made, "db1", "report", "started", "info");
  const page = await user.page("/problems");
  const open = () => page.locator("#open tr th").allInnerTexts();
  await until("the worst is first", async () => `${await open()}` === "replication,backup");
  assert.deepEqual(await page.locator("#running tr th").allInnerTexts(), ["report"]);
  await page.getByLabel("Name").fill("DB1");
  assert.deepEqual(await open(), ["backup"]);
  await page.getByLabel("Name").fill("");
  await about(made, "web1", "replication", "resolved", "notice");
  await until("it is over", async () => `${await open()}` === "backup");
  await page.getByRole("link", { name: "backup failed" }).click();
  await page.getByRole("link", { name: "not over yet" }).waitFor();
  await about(made, "db1", "backup", "succeeded", "info");
  await page.goto("/problems");
  await page.getByText("Nothing is open.").waitFor();
});

shows("a search never shows as open what is over, loaded or live", {}, async (made, user) => {
  await about(made, "db1", "backup", "failed", "error");
  await about(made, "db1", "backup", "resolved", "info");
  const { id } = await about(made, "web1", "deploy", "failed", "critical");
  const page = await user.page("/?severity=error");
  await isLive(page);
  const row = (name) => rows(page).filter({ hasText: `${name} failed` });
  await row("backup").getByText(/✓ resolved \d/).waitFor();
  assert.match(await row("backup").getAttribute("class"), /over/);
  assert.doesNotMatch(await row("deploy").getAttribute("class"), /over/);
  await page.getByLabel("Group by source and key").uncheck();
  // The message that ends it does not match the search, so it is not shown itself.
  await about(made, "web1", "deploy", "succeeded", "info");
  await row("deploy").getByText(/✓ succeeded \d/).waitFor();
  assert.deepEqual((await headlines(page)).sort(), ["backup failed", "deploy failed"]);
  await page.goto(`/messages/${id}`);
  await page.locator("#about").getByText(/✓ succeeded/).click();
  await page.getByRole("heading", { name: "deploy succeeded" }).waitFor();
});

shows("a run whose end was not told within its usual time says so", {}, async (made, user) => {
  const { sequence } = await about(made, "db1", "backup", "started", "info", { run: { command: "tar" } });
  const page = await user.context.newPage();
  await page.clock.install();
  const late = { due: new Date(Date.now() - 60_000).toISOString() };
  await page.route("**/api/problems?*", async (route) => {
    const response = await route.fetch();
    const answer = await response.json();
    assert.equal(answer.problems[0].sequence, sequence);
    assert.ok(Date.parse(answer.problems[0].due) > Date.now() + 23 * 3_600_000, "a day, without an earlier run");
    Object.assign(answer.problems[0], late, { state: "no_end" });
    await route.fulfill({ response, json: answer });
  });
  // As if it had started while the page was open: then its usual time is not known.
  await page.route("**/api/messages?*", async (route) => {
    const response = await route.fetch();
    const answer = await response.json();
    assert.ok(answer.messages[0].due);
    delete answer.messages[0].due;
    await route.fulfill({ response, json: answer });
  });
  await page.goto("/");
  await isLive(page);
  await page.getByText("backup started").waitFor();
  await page.clock.fastForward(61_000);
  await rows(page).first().getByText("no end was told").waitFor();
  await page.goto("/problems");
  await page.locator("#open tr").getByText(/no end was told, expected by/).waitFor();
  // A killed run that is started again has no end either.
  await page.unrouteAll();
  await about(made, "db1", "backup", "started", "info");
  await page.goto(`/messages/seq-${sequence}`);
  await page.getByText(/no end was told, started again/).waitFor();
});

shows("a row that is opened shows its whole text", {}, async (made, user) => {
  const text = `begin ${"many words of one line ".repeat(60)}end`;
  await made.publish("db1", "job", { text });
  const page = await user.page();
  await rows(page).first().waitFor();
  const headline = rows(page).first().locator(".headline");
  const cut = () => headline.evaluate((it) => it.scrollHeight > it.clientHeight + 1);
  assert.ok(await cut());
  await rows(page).first().locator("summary").click();
  await until("it is whole", async () => !(await cut()));
});

shows("all times are in the configured zone, with UTC on hover, and a typed time stays what it was", { config: 'zone = "Asia/Tokyo"', browser: { timezoneId: "America/New_York" } }, async (made, user) => {
  await made.publish("db1", "job", { text: "one" });
  const page = await user.page("/?text=one");
  await page.getByText("times in Asia/Tokyo").waitFor();
  const time = rows(page).first().locator("time").first();
  const at = new Date(await time.getAttribute("datetime"));
  assert.equal(await time.innerText(), at.toLocaleTimeString("en-GB", { timeZone: "Asia/Tokyo" }));
  assert.match(await time.getAttribute("title"), new RegExp(`^${at.toISOString().slice(0, 19).replace("T", " ")}.* UTC$`));
  await page.getByText("Tag, severity, status, source, host, key, time").click();
  await page.getByLabel("Since").fill("2026-11-25 03:00");
  await page.getByLabel("Since").press("Enter");
  await page.waitForURL(/since=2026-11-24T18%3A00%3A00\.000Z/);
  await rows(page).first().waitFor();
  assert.equal(await page.getByLabel("Since").inputValue(), "2026-11-25 03:00");
  await page.getByLabel("Search").fill("on");
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL(/text=on&since=2026-11-24T18%3A00%3A00\.000Z/, "another search does not move it");
  // Typed into the address, without a zone.
  await page.goto("/?since=2026-11-25+03:00");
  await rows(page).first().waitFor();
  await page.locator("#timeline time").first().waitFor();
  assert.equal(await page.locator("#timeline time").first().innerText(), "25 Nov 03:00");
});

shows("a click filters by a value or excludes it, and a wrong parameter is refused", {}, async (made, user) => {
  await made.publish("db1", "backup.mysql", { key: "a, b / c", status: "failed", host: "db1.example.com", title: "first", fields: { shard: "7 \"x\"" } });
  await made.publish("web1", "deploy", { key: "other", status: "started", host: "web1.example.com", title: "second" });
  await made.publish("web1", "deploy", { title: "third" });
  const page = await user.page();
  const listed = (...wanted) => until(`${wanted} are listed`, async () => `${await headlines(page)}` === `${wanted}`);
  await listed("third", "second", "first");
  const open = () => rows(page).last().locator("summary").click();
  for (const [link, address, ...left] of [
    ["a, b / c", /\?key=a%2C\+b\+%2F\+c$/, "first"],
    ["without a, b / c", /\?key=%21a%2C\+b\+%2F\+c$/, "third", "second"],
    ["db1.example.com", /\?host=db1\.example\.com$/, "first"],
    ["failed", /\?status=failed$/, "first"],
    ["without failed", /\?status=%21failed$/, "third", "second"],
    ["without db1", /\?source=%21db1$/, "third", "second"],
    ['7 "x"', /\?text=/, "first"],
  ]) {
    await page.goto("/");
    await listed("third", "second", "first");
    await open();
    await page.locator(".body").getByRole("link", { name: link, exact: true }).click();
    await page.waitForURL(address);
    await listed(...left);
  }
  // What is in the form is what is in the address, and both are one filter.
  await page.goto("/?key=other&key=a%2C+b+%2F+c&status=!started");
  await listed("first");
  assert.deepEqual(await page.getByLabel("Key", { exact: true }).evaluateAll((all) => all.map(({ value }) => value)), ["other", "a, b / c"]);
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL(/key=other&key=a%2C\+b\+%2F\+c&status=%21started/);
  await page.goto("/?statsu=failed");
  await page.getByRole("alert").getByText('unknown parameter "statsu": did you mean status?').waitFor();
  assert.equal(await rows(page).count(), 0);
  await page.getByRole("link", { name: "Without parameters" }).click();
  await listed("third", "second", "first");
});

shows("a link, a command and a file of a search are taken away", { browser: { login: "operator", permissions: ["clipboard-read", "clipboard-write"] } }, async (made, user) => {
  await made.publish("db1", "job", { text: "it's \"one\", two" });
  await made.publish("db1", "other", { text: "not asked for" });
  const page = await user.page("/?text=it%27s&tag=job");
  await rows(page).first().waitFor();
  const pasted = () => page.evaluate(() => navigator.clipboard.readText());
  const shell = async () => execFileSync("sh", ["-c", await pasted()], { env: { ...process.env, HAL_TOKEN: "oncall-0123456789abcdef" } }).toString();
  const tools = page.locator("#take");
  await tools.getByRole("button", { name: "Copy link" }).click();
  await tools.getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await pasted(), page.url());
  await tools.getByRole("button", { name: "Copy as curl" }).click();
  await until("it is copied", async () => (await pasted()).startsWith("curl "));
  assert.deepEqual(JSON.parse(await shell()).messages.map(({ message }) => message.text), ["it's \"one\", two"]);
  const file = async (name) => {
    const [download] = await Promise.all([page.waitForEvent("download"), tools.getByRole("link", { name }).click()]);
    return [download.suggestedFilename(), readFileSync(await download.path(), "utf8")];
  };
  const [csvName, csv] = await file("CSV");
  assert.deepEqual([csvName, csv.trim().split("\r\n").length], ["messages.csv", 2]);
  assert.match(csv, /"it's ""one"", two"/);
  const [linesName, lines] = await file("JSON lines");
  assert.deepEqual([linesName, JSON.parse(lines).message.tag], ["messages.jsonl", "job"]);
  await rows(page).first().locator("summary").click();
  await rows(page).first().getByRole("button", { name: "Copy as curl" }).click();
  await until("it is another", async () => (await pasted()).includes("/api/messages/"));
  assert.equal(JSON.parse(await shell()).message.tag, "job");
});

shows("a link is copied without encryption too", { byName: true, browser: { login: "viewer" } }, async (made, user) => {
  await made.publish("db1", "job", { text: "one" });
  const page = await user.page();
  await page.evaluate(() => document.addEventListener("copy", () => { window.copied = `${getSelection()}` || document.activeElement.value; }));
  await page.locator("#take").getByRole("button", { name: "Copy link" }).click();
  await page.locator("#take").getByRole("button", { name: "Copied" }).waitFor();
  assert.equal(await page.evaluate(() => window.copied), page.url());
});
