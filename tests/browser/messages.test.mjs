// The page of messages: live ones, older ones, and the page while the relay is away.

import assert from "node:assert/strict";
import { SOON, headlines, hide, isLive, rows, shows, until } from "./harness.mjs";

const inSight = (row) => row.evaluate((it) => it.getBoundingClientRect().bottom <= innerHeight);

// Sets the reader's earlier choice.
async function chose(user, choice) {
  // The script also runs in an empty page, which has no storage.
  await user.context.addInitScript((choice) => origin !== "null" && localStorage.setItem("hal-feed", choice), choice);
}

shows("a message is seen as it comes, by colour, shape and word", {}, async (made, user) => {
  const page = await user.page();
  await page.getByText("No message yet").waitFor();
  await isLive(page);
  await made.publish("db1", "backup.mysql", { text: "Nightly backup finished\nsecond line" });
  await made.publish("db2", "mysql.replication", { severity: "critical", title: "Replication is broken" });
  await rows(page).nth(1).waitFor();
  assert.deepEqual(await headlines(page), ["Replication is broken", "Nightly backup finished"]);
  const first = rows(page).first();
  assert.match(await first.innerText(), /■ critical/);
  assert.match(await rows(page).nth(1).innerText(), /○ info/);
  await rows(page).nth(1).locator("summary").click();
  assert.equal(await rows(page).nth(1).locator("pre").innerText(), "Nightly backup finished\nsecond line");
  assert.ok(!(await page.getByText("No message yet").isVisible()));
});

shows("the page continues after a restart of the relay, and shows meanwhile that the connection is lost", {}, async (made, user) => {
  const page = await user.page();
  await isLive(page);
  await made.publish("db1", "job", { text: "before" });
  await page.getByText("before", { exact: true }).waitFor();
  await made.relay.kill();
  await page.getByText(/Connection lost, reconnecting/).waitFor();
  const missed = await made.publish("db1", "job", { text: "meanwhile" });
  made.relay.start();
  await page.getByText("meanwhile", { exact: true }).waitFor();
  await isLive(page);
  await made.publish("db1", "job", { text: "after" });
  await page.getByText("after", { exact: true }).waitFor();
  assert.deepEqual(await headlines(page), ["after", "meanwhile", "before"]);
  assert.ok(missed.sequence > 0);
});

shows("every view has an address, and a search covers the whole log", {}, async (made, user) => {
  await made.ticks("noise.tick", 0, 1500);
  await made.publish("db1", "backup.mysql", { severity: "error", text: "Disk FULL on /var", fields: { shard: "7" } });
  await made.publish("db1", "backup.files", { text: "fine" });
  await until("the index has it all", async () => !(await made.api("/api/messages?text=no+such")).incomplete);
  const page = await user.page();
  await page.getByLabel("Search").fill("disk full");
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL("**/?text=disk+full");
  await rows(page).first().waitFor();
  assert.deepEqual(await headlines(page), ["Disk FULL on /var"]);
  assert.match(await page.locator("#timeline svg").getAttribute("aria-label"), /^1 message from .*: 1 error$/);

  await page.goto("/?tag=backup.%3E&severity=info&source=db1");
  await rows(page).nth(1).waitFor();
  assert.deepEqual(await headlines(page), ["fine", "Disk FULL on /var"]);
  assert.equal(await page.getByLabel("Tag").inputValue(), "backup.>");
  assert.equal(await page.getByLabel("Severity").inputValue(), "info");

  // Live messages pass the same filter.
  await isLive(page);
  await made.publish("db1", "noise.tick", { text: "not this" });
  await made.publish("db1", "backup.redis", { text: "but this" });
  await page.getByText("but this").waitFor();
  assert.deepEqual(await headlines(page), ["but this", "fine", "Disk FULL on /var"]);

  await page.goto("/?text=no+such+thing");
  await page.getByText("No message matches.").waitFor();
  await page.goto("/?tag=backup..x");
  await page.getByText(/tag: "backup..x" is not a tag pattern/).waitFor();
});

shows("a range is dragged on the timeline, and older messages are loaded on the way down", {}, async (made, user) => {
  await made.ticks("tick", 0, 350);
  const page = await user.page();
  await rows(page).nth(99).waitFor();
  await page.locator("#timeline svg").waitFor();
  while ((await rows(page).count()) < 350) {
    await page.mouse.wheel(0, 4000);
    await page.waitForTimeout(50);
  }
  assert.equal(new Set(await headlines(page)).size, 350);
  assert.ok(!(await page.locator("#older").isVisible()));

  await page.evaluate(() => scrollTo(0, 0));
  const box = await page.locator("#timeline svg").boundingBox();
  await page.mouse.move(box.x + 1, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + 20, { steps: 4 });
  await page.mouse.up();
  await page.waitForURL(/since=.*&until=/);
  await page.locator("#timeline svg").waitFor();
  const { searchParams } = new URL(page.url());
  assert.ok(Date.parse(searchParams.get("since")) < Date.parse(searchParams.get("until")));
  await until("only that range is shown", async () => (await rows(page).count()) < 350);
});

shows("a run is one line, and messages of the same source and key are grouped", {}, async (made, user) => {
  const page = await user.page();
  await isLive(page);
  const run = { key: "backup.mysql", run: { command: "mysqldump" } };
  await made.publish("db1", "backup.mysql", { ...run, status: "started", title: "mysqldump started" });
  await page.getByText("mysqldump started").waitFor();
  await made.publish("db2", "backup.mysql", { key: "backup.mysql", text: "another host's" });
  await made.publish("db1", "backup.mysql", { ...run, status: "succeeded", title: "mysqldump succeeded in 2m", run: { command: "mysqldump", duration: 120, exit: 0 } });
  await page.getByText("mysqldump succeeded").waitFor();
  assert.deepEqual(await headlines(page), ["mysqldump succeeded in 2m", "another host's"]);
  assert.doesNotMatch(await rows(page).first().innerText(), /\+\d/, "start and end are one run");
  await rows(page).first().locator("summary").click();
  await rows(page).first().getByText(/^started .*, ended/).waitFor();

  await made.publish("db1", "backup.mysql", { ...run, status: "started", title: "mysqldump started again" });
  await page.getByText("started again").waitFor();
  assert.match(await rows(page).first().innerText(), /\+2/);
  assert.equal(await rows(page).first().locator(".earlier li").count(), 2, "an open row stays open");
  await page.getByLabel("Group by source and key").uncheck();
  assert.equal(await rows(page).count(), 4);
  await page.reload();
  await rows(page).nth(3).waitFor();
  assert.equal(await rows(page).count(), 4, "the choice is kept");
});

shows("of one key the last hundred messages are kept, the others are counted", {}, async (made, user) => {
  for (let n = 0; n < 250; n++) await made.publish("db1", "replication", { text: `${n} s behind`, key: "replication" });
  await made.publish("db1", "backup", { text: "another" });
  const page = await user.page();
  await isLive(page);
  const row = rows(page).filter({ hasText: "s behind" });
  await row.getByText("+249").waitFor();
  await row.locator("summary").focus();
  await made.publish("db1", "replication", { text: "250 s behind", key: "replication" });
  await row.getByText("+250").waitFor();
  assert.match(await page.evaluate(() => document.activeElement.innerText), /250 s behind/, "who is on a row stays on it");
  assert.equal(await page.locator("#feed").getAttribute("aria-live"), "polite");
  await page.keyboard.press("Enter");
  // The earlier messages are filled in once the browser reports that the row is open.
  await row.locator(".earlier li").nth(99).waitFor();
  assert.equal(await row.locator(".earlier li").count(), 100);
  assert.equal(await page.locator("#feed").getAttribute("aria-live"), "off", "what was asked for is not read out");
  await page.getByLabel("Newest").selectOption("at the bottom");
  await row.getByText("+250").waitFor();
  assert.equal(await row.locator(".earlier li").count(), 100, "it stays open");
  await page.getByLabel("Group by source and key").uncheck();
  assert.equal(await rows(page).count(), 101);
  await page.getByText("Too many messages arrived to show all of them").waitFor();
  await page.getByLabel("Group by source and key").check();
  await row.locator("summary").click();
  await row.getByRole("link", { name: "151 more" }).waitFor({ state: "hidden" });
  await page.getByRole("link", { name: "reload" }).click();
  await row.locator("summary").click();
  await row.getByRole("link", { name: "151 more" }).click();
  await page.waitForURL(/\?source=db1&key=replication$/);
});

shows("of all rows together twenty thousand messages are kept", {}, async (made, user) => {
  const page = await user.context.newPage();
  // Each page of the answer is one row of a hundred messages.
  const entry = (sequence, key) => ({ sequence, at: "2026-11-25T03:00:00Z", marks: [], message: { id: `m-${sequence}`, tag: "a", source: "db1", text: `${key}`, key: `${key}` } });
  await page.route("**/api/messages?*", (route) => {
    const number = Number(new URL(route.request().url()).searchParams.get("cursor") ?? 20_101) - 1;
    const key = Math.ceil(number / 100);
    const messages = Array.from({ length: 100 }, (_, i) => entry(number - i, key));
    return route.fulfill({ json: { messages, cursor: key > 1 ? `${number - 99}` : null, through: 0, incomplete: null } });
  });
  await page.goto("/");
  await isLive(page);
  while ((await rows(page).count()) < 201) {
    await page.locator("#older").evaluate((button) => button.scrollIntoView());
    await page.waitForTimeout(20);
  }
  await page.evaluate(() => scrollTo(0, 0));
  await made.publish("web1", "tick", { text: "one more" });
  await page.getByText("one more").waitFor();
  assert.equal(await rows(page).count(), 200);
  await page.locator("#older").evaluate((button) => button.scrollIntoView());
  await until("those that were removed are back", async () => (await rows(page).count()) === 202);
  assert.equal((await headlines(page)).at(-1), "1");
});

shows("new messages wait while the reader is further down or has paused", {}, async (made, user) => {
  await made.ticks("tick", 0, 80);
  const page = await user.page();
  await rows(page).nth(79).waitFor();
  await isLive(page);
  await page.evaluate(() => scrollTo(0, 1200));
  const place = () => rows(page).nth(50).evaluate((row) => row.getBoundingClientRect().top);
  const before = await place();
  await made.publish("web1", "tick", { text: "while reading" });
  await page.getByRole("button", { name: "↑ 1 new message" }).waitFor();
  assert.equal(await rows(page).count(), 80);
  assert.equal(await place(), before, "nothing moves");
  await page.getByRole("button", { name: "↑ 1 new message" }).click();
  await page.getByText("while reading").waitFor();

  await page.getByRole("button", { name: "Pause" }).click();
  await made.publish("web1", "tick", { text: "while paused" });
  await page.getByRole("button", { name: "↑ 1 new message" }).waitFor();
  assert.ok(!(await page.getByText("while paused").isVisible()));
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("while paused").waitFor();
});

shows("the newest may be at the bottom", {}, async (made, user) => {
  await made.ticks("tick", 0, 150);
  const page = await user.page();
  await rows(page).nth(99).waitFor();
  await isLive(page);
  await page.getByLabel("Newest").selectOption("at the bottom");
  await until("the newest is in sight, at the bottom", () => rows(page).last().evaluate((row) => row.getBoundingClientRect().bottom <= innerHeight));
  assert.equal((await headlines(page)).at(-1), "tick 149");
  await made.publish("web1", "tick", { text: "one more" });
  await page.getByText("one more").waitFor();
  assert.equal((await headlines(page)).at(-1), "one more");
  await until("it is in sight", () => rows(page).last().evaluate((row) => row.getBoundingClientRect().bottom <= innerHeight + 80));
  await page.mouse.wheel(0, -20_000);
  await until("older ones come at the top", async () => (await rows(page).count()) === 151);
  assert.equal((await headlines(page))[0], "tick 0");
});

shows("with the newest at the bottom older ones are loaded on the way up, and nothing jumps", {}, async (made, user) => {
  await made.ticks("tick", 0, 450);
  await chose(user, '{"newest":"bottom"}');
  const page = await user.page();
  await isLive(page);
  await until("the newest is in sight", () => inSight(rows(page).last()));
  await page.waitForTimeout(1_000);
  assert.equal(await rows(page).count(), 100, "no more than is asked for");
  const before = await rows(page).nth(10).evaluate((row) => {
    scrollTo(0, 500);
    row.id = "watched";
    return row.getBoundingClientRect().top;
  });
  await until("older ones come", async () => (await rows(page).count()) === 200);
  await page.waitForTimeout(200);
  const after = await page.locator("#watched").evaluate((row) => row.getBoundingClientRect().top);
  assert.ok(Math.abs(after - before) < 2, `it jumps from ${before} to ${after}`);
  assert.equal(new Set(await headlines(page)).size, 200);
});

shows("waiting messages are shown first, however the reader gets back to the newest end", {}, async (made, user) => {
  await chose(user, '{"newest":"bottom"}');
  await made.publish("web1", "tick", { text: "tall\n".repeat(60) });
  const page = await user.page();
  await isLive(page);
  await rows(page).first().locator("summary").click();
  await rows(page).first().locator("pre").waitFor();
  await made.publish("web1", "tick", { text: "waits" });
  await page.getByRole("button", { name: "↓ 1 new message" }).waitFor();
  // The page is as short as before: it need not be scrolled.
  await rows(page).first().locator("summary").click();
  await made.publish("web1", "tick", { text: "comes" });
  await page.getByText("comes").waitFor();
  assert.deepEqual(await headlines(page), ["tall", "waits", "comes"]);
  assert.ok(!(await page.locator("#newer").isVisible()));
});

shows("a failure to load older messages is shown, and loading is tried again after a while", {}, async (made, user) => {
  await made.ticks("tick", 0, 150);
  const page = await user.context.newPage();
  let asked = 0;
  await page.route("**/api/messages?*cursor=*", (route) => {
    asked += 1;
    return route.fulfill({ status: 503, json: { detail: "the disk is on fire" } });
  });
  await page.goto("/");
  await isLive(page);
  await page.locator("#older").scrollIntoViewIfNeeded();
  await page.getByRole("alert").getByText("the disk is on fire").waitFor();
  const first = asked;
  await page.waitForTimeout(1_000);
  assert.equal(asked, first, "not at once");
  await page.getByRole("button", { name: "Load older messages" }).click();
  await until("a click asks at once", () => asked > first);
  await page.unrouteAll();
  await rows(page).nth(149).waitFor();
  assert.ok(!(await page.locator("#note").isVisible()));
});

shows("a search that ran out of time continues, and says so until it is complete", {}, async (made, user) => {
  const { sequence } = await made.publish("web1", "tick", { text: "the one" });
  await until("it is found", async () => {
    const answer = await made.api("/api/messages?text=one");
    return answer.messages.length > 0 && !answer.incomplete;
  });
  const page = await user.context.newPage();
  const late = { reason: "the search took too long and left out older messages", before: "2026-11-25T03:00:00Z", passing: false };
  let goOn;
  const longer = new Promise((resolve) => { goOn = resolve; });
  await page.route("**/api/messages?*", async (route) => {
    if (!route.request().url().includes("cursor")) return route.fulfill({ json: { messages: [], cursor: "1000", through: sequence, incomplete: late } });
    await longer;
    await route.continue();
  });
  await page.route("**/api/timeline?*", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), incomplete: late } });
  });
  await page.goto("/?text=one");
  await page.locator("#note").getByText(/^the search took too long .* older messages, before 25 Nov 2026/).waitFor();
  await page.locator("#timeline").getByText(/^highest bar: .*; the search took too long/).waitFor();
  assert.match(await page.locator("#timeline svg").getAttribute("aria-label"), /the search took too long/);
  assert.ok(!(await page.getByText("No message matches.").isVisible()));
  goOn();
  await page.getByText("the one").waitFor();
  await page.locator("#note").waitFor({ state: "hidden" });
});

shows("messages that arrived while the page was hidden are marked", {}, async (made, user) => {
  const page = await user.page();
  await isLive(page);
  await made.publish("web1", "tick", { text: "seen" });
  await page.getByText("seen", { exact: true }).waitFor();
  await hide(page, true);
  await made.publish("web1", "tick", { text: "unseen 1" });
  await made.publish("web1", "tick", { text: "unseen 2" });
  await page.getByText("unseen 2").waitFor();
  await until("the title counts", async () => (await page.title()) === "(2) Messages · hal");
  const texts = await page.locator("#messages > ol > li").allInnerTexts();
  assert.match(texts[2], /new since \d\d:\d\d:\d\d/);
  await hide(page, false);
  assert.equal(await page.title(), "Messages · hal");

  // The mark is also drawn for messages that waited, once they are shown.
  await page.getByRole("button", { name: "Pause" }).click();
  await hide(page, true);
  assert.equal(await page.locator(".unread").count(), 0);
  await made.publish("web1", "tick", { text: "unseen 3" });
  await until("the title counts", async () => (await page.title()) === "(1) Messages · hal");
  await hide(page, false);
  await page.getByRole("button", { name: "↑ 1 new message" }).click();
  await page.getByText("unseen 3").waitFor();
  const paused = await page.locator("#messages > ol > li").allInnerTexts();
  assert.match(paused[1], /new since/);
  assert.equal(await page.getByRole("button", { name: "Pause" }).getAttribute("aria-pressed"), "true");
});

shows("many pages share one connection, and another takes over from the one that goes", {}, async (made, user) => {
  const readers = async () => Number((await (await fetch(`${made.address}/metrics`)).text()).match(/^hal_relay_page_readers (\d+)/m)[1]);
  const pages = [];
  for (let n = 0; n < 9; n++) pages.push(await user.page());
  for (const page of pages) await isLive(page);
  assert.equal(await readers(), 1);
  await made.publish("web1", "tick", { text: "to all" });
  for (const page of pages) await page.getByText("to all").waitFor();
  await pages.shift().close();
  await until("another one is connected", async () => (await readers()) === 1);
  await made.publish("web1", "tick", { text: "still to all" });
  for (const page of pages) {
    await page.getByText("still to all").waitFor();
    assert.deepEqual(await headlines(page), ["still to all", "to all"]);
  }
});

shows("no message is missed between the search and the live messages", {}, async (made, user) => {
  const first = await user.page();
  await isLive(first);
  const slow = await user.context.newPage();
  let search;
  const searched = new Promise((resolve) => { search = resolve; });
  await slow.route("**/api/messages?*", async (route) => {
    const response = await route.fetch();
    search();
    // The answer is delayed, while the first page passes on live messages.
    await first.getByText("in between").waitFor();
    await route.fulfill({ response });
  });
  await slow.goto("/");
  await searched;
  await made.publish("web1", "tick", { text: "in between" });
  await isLive(slow);
  await slow.getByText("in between").waitFor({ timeout: SOON });
});

shows("a page that missed passed-on messages reads them from the relay", {}, async (made, user) => {
  const first = await user.page();
  await isLive(first);
  const slow = await user.context.newPage();
  // Until the second page is connected itself, the first one passes on live messages.
  await slow.addInitScript(() => {
    const request = navigator.locks.request.bind(navigator.locks);
    navigator.locks.request = (...asked) => new Promise((resolve) => { setTimeout(resolve, 1_000); }).then(() => request(...asked));
  });
  let search;
  const searched = new Promise((resolve) => { search = resolve; });
  let goOn;
  const held = new Promise((resolve) => { goOn = resolve; });
  await slow.route("**/api/messages?*", async (route) => {
    const response = await route.fetch();
    search();
    await held;
    await route.fulfill({ response });
  });
  await slow.goto("/");
  await searched;
  await made.ticks("tick", 0, 1_100);
  await first.getByText("tick 1099", { exact: true }).waitFor();
  goOn();
  await made.ticks("tick", 1_100, 1_200);
  await slow.getByText("tick 1199", { exact: true }).waitFor();
  await until("those it missed are there", async () => new Set(await headlines(slow)).size === 1_200);
  await made.publish("web1", "tick", { text: "one more" });
  for (const page of [first, slow]) await page.getByText("one more").waitFor();
  assert.equal(await rows(slow).count(), 1_201);
});

shows("the page shows why the stream is refused, and is live only when it is", {}, async (made, user) => {
  // The first event of a connection does not mean that all missed messages have arrived.
  let answer = { contentType: "text/event-stream", body: 'retry: 100\nevent: state\ndata: {"problem":null}\n\n' };
  await user.context.route("**/api/stream?*", (route) => (answer ? route.fulfill(answer) : route.continue()));
  const page = await user.page();
  await page.evaluate(() => {
    new MutationObserver(() => { window.wasLive ||= document.querySelector("#connection").dataset.state === "live"; })
      .observe(document.querySelector("#connection"), { attributes: true });
  });
  await page.getByText(/Connection lost, reconnecting/).waitFor();
  await page.waitForTimeout(500);
  assert.ok(!(await page.evaluate(() => window.wasLive)));
  answer = { status: 503, json: { detail: "too many pages are open; close some" } };
  await page.getByText(/Connection lost, .* too many pages are open; close some/).waitFor();
  answer = { status: 401, json: { detail: "log in first" } };
  await page.locator("#connection").getByRole("link", { name: "Log in" }).waitFor();
  answer = null;
  await isLive(page);
});

shows("a replaced log reloads all pages", {}, async (made, user) => {
  let tell;
  const told = new Promise((resolve) => { tell = resolve; });
  await user.context.route("**/api/stream?*", async (route) => {
    await told;
    await route.fulfill({ contentType: "text/event-stream", body: "event: anew\ndata: {}\n\n" });
  }, { times: 1 });
  const pages = [await user.page(), await user.page()];
  for (const page of pages) await page.locator("#timeline svg").waitFor();
  const loaded = pages.map((page) => page.waitForEvent("load"));
  tell();
  await Promise.all(loaded);
  for (const page of pages) await isLive(page);
});

shows("the chart waits while a range is dragged, and is drawn again after a failure", {}, async (made, user) => {
  await made.publish("web1", "tick", { text: "one" });
  const page = await user.context.newPage();
  await page.clock.install();
  await page.route("**/api/timeline?*", (route) => route.fulfill({ status: 503, json: { detail: "the index is busy" } }), { times: 1 });
  await page.goto("/");
  await page.getByText("the index is busy").waitFor();
  const drawn = async () => {
    await page.waitForTimeout(100);
    await page.clock.fastForward(11_000);
  };
  await drawn();
  const chart = page.locator("#timeline svg");
  await chart.waitFor();
  await isLive(page);
  const box = await chart.boundingBox();
  await page.mouse.move(box.x + 10, box.y + 20);
  await page.mouse.down({ button: "right" });
  await page.mouse.up({ button: "right" });
  await page.mouse.down();
  await page.mouse.move(box.x + 100, box.y + 20, { steps: 4 });
  await chart.evaluate((svg) => { svg.id = "dragged"; });
  await made.publish("web1", "tick", { text: "two" });
  await page.getByText("two").waitFor();
  const counted = page.waitForResponse("**/api/timeline?*");
  await drawn();
  await counted;
  await page.waitForTimeout(200);
  assert.equal(await page.locator("#dragged").count(), 1);
  await page.mouse.up();
  await page.waitForURL(/since=.*&until=/);
});

shows("a broken choice in the browser's storage is ignored", {}, async (made, user) => {
  await chose(user, "{broken");
  const page = await user.page();
  await isLive(page);
  assert.equal(await page.getByLabel("Newest").inputValue(), "top");
});

shows("the focused element is not under the header", {}, async (made, user) => {
  await made.ticks("tick", 0, 60);
  const page = await user.page();
  await rows(page).nth(59).waitFor();
  await rows(page).nth(40).locator("summary").focus();
  for (let n = 0; n < 30; n++) {
    await page.keyboard.press("Shift+Tab");
    const [top, header] = await page.evaluate(() => [document.activeElement, document.querySelector("header")].map((it) => it.getBoundingClientRect()))
      .then(([focused, head]) => [focused.top, head.bottom]);
    assert.ok(top >= header, `${top} is under ${header}`);
  }
});

shows("a wrong search is reported, and nothing else is", {}, async (made, user) => {
  const page = await user.page("/?tag=back..up");
  await page.getByRole("alert").getByText('tag: "back..up" is not a tag pattern').waitFor();
  assert.equal(await page.locator("#connection").innerText(), "");
  assert.equal(await page.getByLabel("Tag", { exact: true }).inputValue(), "back..up");
});

shows("an incomplete index is mentioned, with a link to reload", {}, async (made, user) => {
  await made.publish("web1", "tick", { text: "one" });
  const page = await user.context.newPage();
  await page.route("**/api/messages?*", async (route) => {
    const response = await route.fetch();
    const incomplete = { reason: "the index is still reading the log; entries left: 9", before: null, passing: true };
    await route.fulfill({ response, json: { ...(await response.json()), incomplete } });
  });
  await page.goto("/?tag=tick");
  await page.getByText("entries left: 9. Reload later.").waitFor();
  await page.unrouteAll();
  await page.getByRole("link", { name: "Reload" }).click();
  await isLive(page);
  assert.match(page.url(), /\/\?tag=tick$/);
  assert.ok(!(await page.locator("#note").isVisible()));
});

shows("ten thousand rows are kept, further ones are loaded again", {}, async (made, user) => {
  // The client slows down with the number of requests in flight.
  for (let first = 0; first < 10_200; first += 1_020) {
    const texts = Array.from({ length: 1_020 }, (_, n) => `tick ${first + n}`);
    await Promise.all(texts.map((text) => made.publish("web1", "tick", { text })));
  }
  // The page stops loading at messages that the index does not have yet. It may lag behind even when the relay itself
  // has just received them.
  await until("the relay and its index have all messages", async () => {
    const { through, incomplete } = await made.api("/api/messages?limit=1&until=1h");
    return through >= 10_200 && !incomplete;
  }, 6 * SOON);
  const page = await user.page();
  await isLive(page);
  await page.evaluate(async () => {
    const loaded = document.getElementsByClassName("row");
    const older = document.querySelector("#older");
    while (loaded.length < 10_000) {
      if (older.hidden) throw new Error(`only ${loaded.length} rows: ${document.querySelector("#note").textContent}`);
      older.scrollIntoView();
      await new Promise(requestAnimationFrame);
    }
  });
  await page.evaluate(() => scrollTo(0, 0));
  await made.publish("web1", "tick", { text: "one more" });
  await page.getByText("one more").waitFor({ timeout: SOON });
  assert.equal(await rows(page).count(), 10_000);
  await page.locator("#older").evaluate((button) => button.scrollIntoView());
  await until("the one that was removed is back", async () => (await headlines(page)).includes("tick 200"));
});
