// The page of a message with its deliveries, the rooms, and actions on dead letters.

import assert from "node:assert/strict";
import { TOKENS, isLive, shows, taken, until } from "./harness.mjs";

const ROUTES = `
[[routes]]
name = "backups"
tag = "backup.>"
rooms = ["hook"]
throttle = "1h"
[[routes]]
name = "errors"
severity = "error"
rooms = ["gone"]
[[routes]]
name = "noise"
tag = "noise"
drop = true
`;

const gone = () => ({ status: 404, text: "no such channel" });

// A room that is busy twice and then takes the post.
const busy = (n) => (n <= 2 ? { status: 503, text: "upstream is <b>busy</b>" } : taken());

shows("a message tells its routes and each room with every attempt", { rooms: { hook: busy, gone }, routes: ROUTES }, async (made, user) => {
  const { id } = await made.publish("db1", "backup.mysql", { severity: "error", title: "Backup failed", text: "exit 2", fields: { env: "prod" } });
  await until("it is settled", async () => (await made.api(`/api/messages/${id}`)).settled);
  const page = await user.page(`/messages/${id}`);
  await page.getByRole("heading", { name: "Backup failed" }).waitFor();
  const hook = page.getByLabel("Room hook");
  await hook.getByText("✓ posted").first().waitFor();
  const cells = await hook.locator("tbody tr").allInnerTexts();
  assert.equal(cells.length, 3);
  assert.match(cells[0], /^1\t.*\t✗ temporary failure\t127\.0\.0\.1: answered 503 Service Unavailable: upstream is <b>busy<\/b>$/);
  assert.match(cells[2], /✓ taken\t127\.0\.0\.1: answered 200 OK$/);
  const dead = page.getByLabel("Room gone");
  assert.match(await dead.innerText(), /✗ dead letter.*404 Not Found: no such channel/s);
  const why = await page.locator("#routes").innerText();
  assert.match(why, /✓ backups takes it: to hook/);
  assert.match(why, /tag backup\.mysql is covered by backup\.>/);
  assert.match(why, /✗ noise does not take it: tag backup\.mysql is not covered by noise/);
  await page.getByText("As received").click();
  assert.match(await page.locator("#raw").innerText(), /hal\.ops\.db1\.backup\.mysql.*"title": "Backup failed"/s);
  assert.ok(!(await page.getByRole("button", { name: "Try again" }).isVisible()), "a viewer cannot");
});

shows("a message that was held, dropped or seen before says so", { rooms: { hook: taken, gone }, routes: ROUTES }, async (made, user) => {
  await made.publish("db1", "backup.mysql", { text: "first" });
  const held = await made.publish("db1", "backup.mysql", { text: "second" });
  const dropped = await made.publish("db1", "noise", { text: "noise" });
  const foreign = await made.publish("db1", "other", "plain text of another client");
  const settled = (id) => until("it is settled", async () => (await made.api(`/api/messages/${id}`)).settled);
  for (const id of [held.id, dropped.id, `seq-${foreign.sequence}`]) await settled(id);
  const page = await user.page(`/messages/${held.id}`);
  await page.getByLabel("Room hook").getByText(/held back and counted: by the throttle of route backups/).waitFor();
  await page.goto(`/messages/${dropped.id}`);
  await page.getByText("– dropped: route noise drops it").waitFor();
  await page.goto(`/messages/seq-${foreign.sequence}`);
  await page.getByText("By the rules that were in force when the message arrived. No route takes it, so it goes to the default room.").waitFor();
  await page.getByLabel("Room page").getByText("shown on the page").waitFor();
  await page.goto("/messages/no-such-message");
  await page.getByText(/no message no-such-message is in the log; it may still be in its host's spool/).waitFor();
});

shows("a message that waits is followed until it is settled", { rooms: { hook: () => ({ status: 503 }) }, routes: '[[routes]]\nname = "all"\nrooms = ["hook"]\n' }, async (made, user) => {
  const { id } = await made.publish("db1", "job", { text: "wait for it" });
  const page = await user.page(`/messages/${id}`);
  await page.getByLabel("Room hook").getByText("↻ not taken yet, tried again").first().waitFor();
  const other = await made.publish("db1", "job", { text: "and for this" });
  await page.goto(`/messages/${other.id}`);
  const why = page.getByLabel("Room hook").locator(".steps p").first();
  const all = /The room has failed since .*, last at .*: 127\.0\.0\.1: answered 503 Service Unavailable.*Next try at .*2 messages wait\. State of hook/s;
  await until("it says why it waits", async () => all.test(await why.innerText()));
  await why.getByRole("link", { name: "State of hook" }).click();
  await page.waitForURL(/\/rooms$/);
  await page.goto(`/messages/${id}`);
  made.sinks.hook.answer(taken);
  await page.getByLabel("Room hook").getByText("✓ posted").first().waitFor();
});

shows("a summary is told apart from its message, posted or dead", { rooms: { hook: taken, gone }, routes: '[[routes]]\nname = "all"\nrooms = ["hook", "gone"]\nthrottle = "1s"\n' }, async (made, user) => {
  const { id } = await made.publish("db1", "job", { text: "again and again" });
  for (const n of [1, 2]) await made.publish("db1", "job", { text: `again and again ${n}` });
  const steps = async () => ((await made.api(`/api/messages/${id}`)).rooms ?? []).map((room) => room.steps.length);
  await until("both rooms had the summary", async () => `${await steps()}` === "2,2");
  const page = await user.page(`/messages/${id}`);
  await page.getByLabel("Room hook").getByText("the summary of its repeats: ✓ posted").waitFor();
  await page.getByLabel("Room gone").getByText("the summary of 2 repeats: ✗ dead letter").waitFor();
  assert.equal(await page.getByLabel("Room hook").locator(".steps > li").count(), 2);
});

const ALL = '[[routes]]\nname = "all"\nrooms = ["hook", "gone"]\n';
const NONE = Array.from({ length: 6 }, (_, n) => `[[routes]]\nname = "other${n}"\ntag = "other"\nrooms = ["hook"]\n`).join("");
const polled = (page, what) => page.waitForResponse((response) => response.url().includes(what));

shows("an update of the page does not disturb the reader", { rooms: { hook: () => ({ status: 503 }), gone }, routes: ALL + NONE, browser: { login: "operator" } }, async (made, user) => {
  const { id } = await made.publish("db1", "job", { text: "wait for it" });
  const page = await user.page(`/messages/${id}`);
  const api = `/api/messages/${id}`;
  const button = page.getByRole("button", { name: "Try again" });
  await page.getByText("6 routes that do not take it").click();
  await button.focus();
  await button.evaluate((it) => { it.marked = true; });
  for (let n = 0; n < 2; n++) await polled(page, api);
  await page.waitForTimeout(200);
  assert.ok(await page.evaluate(() => document.activeElement.marked));
  assert.ok(await page.getByText("other3").isVisible());

  // A lasting problem is shown once.
  await page.route(`**${api}`, (route) => route.fulfill({ status: 503, json: { detail: "no log" } }));
  const alert = page.getByRole("alert").filter({ hasText: "no log" });
  await alert.evaluate((it) => { it.marked = true; });
  for (let n = 0; n < 2; n++) await polled(page, api);
  await page.waitForTimeout(200);
  assert.ok(await alert.evaluate((it) => it.marked));
  await page.unrouteAll();
  await alert.waitFor({ state: "hidden" });

  // Another operator has handled the letter already.
  await page.route("**/api/dead/*/retry", (route) => route.fulfill({ status: 404, json: { detail: "there is no dead letter" } }));
  await button.click();
  const refusal = page.getByRole("status").filter({ hasText: "there is no dead letter" });
  await refusal.waitFor();
  for (let n = 0; n < 2; n++) await polled(page, api);
  assert.ok(await refusal.isVisible(), "it is still shown");
});

shows("a list of dead letters is updated, and its errors are shown beside it", { rooms: { gone }, routes: '[[routes]]\nname = "jobs"\ntag = "job"\nrooms = ["gone"]\n', browser: { login: "operator" } }, async (made, user) => {
  const dead = async (number) => {
    await made.publish("db1", "job", { text: `job ${number}` });
    await until("it is dead", async () => (await made.api("/api/rooms")).rooms.find(({ name }) => name === "gone").dead === number);
  };
  for (const number of [1, 2]) await dead(number);
  const page = await user.context.newPage();
  const list = "**/api/dead?*";
  const failing = (route) => route.fulfill({ status: 503, json: { detail: "no stream" } });
  const alert = page.getByRole("alert").filter({ hasText: "no stream" });
  await page.route(list, failing);
  await page.goto("/rooms");
  await alert.waitFor();
  await page.unroute(list);
  // The answer claims that there are more.
  await page.route(list, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), cursor: "1" } });
  });
  const letters = page.locator("#letters > li");
  const listed = (number) => until(`${number} are listed`, async () => (await letters.count()) === number);
  await listed(2);
  assert.ok(!(await alert.isVisible()));

  await dead(3);
  await listed(3);
  await letters.first().hover();
  await dead(4);
  for (let n = 0; n < 2; n++) await polled(page, "/api/rooms");
  await page.waitForTimeout(200);
  assert.equal(await letters.count(), 3, "it stays under the pointer");
  await page.mouse.move(0, 0);
  await listed(4);

  await page.unroute(list);
  await page.route(list, failing);
  await page.getByRole("button", { name: "More" }).click();
  await alert.waitFor();
  assert.equal(await letters.count(), 4);
  assert.ok(await page.getByRole("button", { name: "More" }).isEnabled());
  await page.unroute(list);

  // The letters are tried one after the other, and the results stay.
  let [now, most] = [0, 0];
  await page.route("**/retry", async (route) => {
    most = Math.max(most, ++now);
    const response = await route.fetch();
    now -= 1;
    await route.fulfill({ response });
  });
  made.sinks.gone.answer(taken);
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Try all again" }).click();
  await until("all are tried", async () => (await letters.filter({ hasText: "On its way again." }).count()) === 4);
  assert.equal(most, 1);
  await page.mouse.move(0, 0);
  await until("none is dead", async () => (await page.locator("#dead-count").innerText()) === "0 dead letters");
  await polled(page, "/api/rooms");
  assert.equal(await letters.count(), 4);
});

shows("a dead letter is tried again, another given up", { rooms: { gone }, routes: ROUTES.replace('rooms = ["hook"]', 'rooms = ["gone"]'), browser: { login: "operator" } }, async (made, user) => {
  const first = await made.publish("db1", "job", { severity: "error", text: "first" });
  const second = await made.publish("db1", "job", { severity: "error", text: "second" });
  await until("both are dead", async () => (await made.api("/api/dead")).letters.filter(({ room }) => room === "gone").length >= 2);
  const page = await user.page("/rooms");
  const row = page.locator("tbody tr", { hasText: "gone" });
  await row.getByText("■ broken").waitFor();
  assert.match(await row.innerText(), /404 Not Found: no such channel/);
  await page.getByRole("link", { name: await row.locator("a").innerText(), exact: true }).click();
  const letter = (text) => page.locator("#letters li", { has: page.getByRole("link", { name: text, exact: true }) });
  await letter("first").waitFor();

  made.sinks.gone.answer(taken);
  await letter("first").getByRole("button", { name: "Try again" }).click();
  await letter("first").getByText("On its way again.").waitFor();
  page.on("dialog", (dialog) => dialog.accept());
  await letter("second").getByRole("button", { name: "Give up" }).click();
  await letter("second").getByText("Given up.").waitFor();
  await until("the first is in its room", () => made.sinks.gone.posts.some(({ messages }) => messages.some(({ text }) => text === "first")));

  await page.goto(`/messages/${first.id}`);
  await page.getByLabel("Room gone").getByText("✓ posted").first().waitFor();
  await page.getByText(/tried again: by operator; before: 127\.0\.0\.1: answered 404/).waitFor();
  await page.goto(`/messages/${second.id}`);
  await page.getByText(/– dropped: dead letter given up by operator/).waitFor();
  await page.goto("/rooms");
  await page.locator("tbody tr", { hasText: "gone" }).getByText("● ok").waitFor();
});

shows("explain says which routes, why, and what each room would show", { rooms: { hook: taken, gone }, routes: ROUTES }, async (made, user) => {
  const page = await user.page("/explain");
  await page.getByLabel("Tag").fill("backup.mysql");
  await page.getByLabel("Severity").selectOption("critical");
  await page.getByLabel("Text").fill("it <b>broke</b>");
  await page.getByLabel("Fields").fill("env=prod\nshard=7");
  await page.getByRole("button", { name: "Explain" }).click();
  await page.waitForURL(/\/explain\?tag=backup\.mysql&severity=critical&/);
  await page.getByRole("heading", { name: "It would go to 2 rooms" }).waitFor();
  const shown = await page.getByLabel("Room hook").innerText();
  assert.match(shown, /webhook, by backups/);
  assert.match(shown, /CRITICAL \[backup\.mysql\] host: it <b>broke<\/b>\nenv=prod shard=7/);
  assert.match(await page.locator("#explained").innerText(), /✓ errors takes it: to gone/);
  assert.equal(await page.getByLabel("Fields").inputValue(), "env=prod\nshard=7");
  assert.equal(made.sinks.hook.posts.length, 0, "nothing is sent");

  await page.goto("/explain?tag=noise");
  await page.getByRole("heading", { name: "It would go to no room" }).waitFor();
  await page.goto("/explain?tag=not+a+tag");
  await page.getByText(/the nearest legal tag is not_a_tag/).waitFor();
});

shows("sources and tags tell when and how often", {}, async (made, user) => {
  for (let n = 0; n < 3; n++) await made.publish("db1", "backup.mysql", { text: `${n}`, host: "db1.example.com" });
  await made.publish("web1", "deploy", { severity: "error", text: "failed" });
  await until("the index has them", async () => (await made.api("/api/sources")).names.length === 2);
  const page = await user.page("/sources");
  const row = (name) => page.locator("#names tr", { hasText: name });
  await row("db1").waitFor();
  assert.match(await row("db1").innerText(), /db1 db1\.example\.com\t(now|\d+ s ago)\t○ info\t.*\t3\t3$/);
  assert.match(await row("web1").innerText(), /◆ error/);
  await page.getByRole("button", { name: "in the log" }).click();
  assert.equal(await page.locator("#names th").first().innerText(), "db1 db1.example.com");
  await page.getByLabel("Name").fill("WEB");
  assert.equal(await page.locator("#names tr").count(), 1);
  await page.getByRole("link", { name: "web1" }).click();
  await page.waitForURL("**/?source=web1");
  await page.getByText("failed", { exact: true }).waitFor();
  await page.goto("/tags");
  await row("backup.mysql").waitFor();
});

shows("an operator sends a message and follows it", { rooms: { hook: taken }, routes: '[[routes]]\nname = "all"\nrooms = ["hook"]\n', browser: { login: "operator" } }, async (made, user) => {
  // Before the script is loaded, the form sends nothing.
  let goOn;
  const slow = new Promise((resolve) => { goOn = resolve; });
  await user.context.route("**/tell.js", async (route) => {
    await slow;
    await route.continue();
  });
  const page = await user.context.newPage();
  await page.goto("/tell", { waitUntil: "commit" });
  await page.getByLabel("Tag").fill("deploy.web");
  await page.getByLabel("Tag").press("Enter");
  assert.ok(await page.getByRole("button", { name: "Tell" }).isDisabled());
  goOn();
  await page.getByLabel("Severity").selectOption("notice");
  await page.getByLabel("Title").fill("Version 7 is out");
  await page.getByLabel("Text").fill("rolled out by hand");
  await page.getByLabel("Fields").fill("version=7");
  await page.getByLabel("Links").fill("https://ci.example/7");
  await page.getByRole("button", { name: "Tell" }).click();
  await page.getByRole("link", { name: "Show the message" }).click();
  await page.getByRole("heading", { name: "Version 7 is out" }).waitFor();
  await page.getByLabel("Room hook").getByText("✓ posted").first().waitFor();
  const [message] = made.sinks.hook.posts.flatMap(({ messages }) => messages);
  assert.deepEqual([message.source, message.user, message.tag, message.severity, message.fields.version], ["relay", "operator", "deploy.web", "notice", "7"]);
});

shows("from another machine one logs in, without encryption too", { rooms: {}, byName: true }, async (made, user) => {
  const page = await user.page("/tell");
  await page.waitForURL("**/login?next=%2Ftell");
  await page.getByLabel("Token").fill(TOKENS.operator);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL("**/tell");
  await page.getByLabel("Tag").fill("deploy.web");
  await page.getByLabel("Text").fill("from afar");
  await page.getByRole("button", { name: "Tell" }).click();
  await page.getByRole("link", { name: "Show the message" }).waitFor();
  await page.goto("/");
  await page.getByText("from afar").waitFor();
  await isLive(page);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForURL("**/login");
});

shows("a missing permission is reported, by the page and by the API", { rooms: {} }, async (made, user) => {
  const page = await user.page("/tell");
  await page.getByText("Sending needs the token of an operator").waitFor();
  assert.ok(await page.getByRole("button", { name: "Tell" }).isDisabled());
  await page.getByRole("link", { name: "log in", exact: true }).click();
  await page.getByLabel("Token").fill("this-is-not-a-token");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("alert").getByText("Unknown token.").waitFor();
  await page.getByLabel("Token").fill(TOKENS.operator);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL("**/tell");
  assert.ok(await page.getByRole("button", { name: "Tell" }).isEnabled());
  assert.ok(!page.url().includes(TOKENS.operator));
  const [cookie] = await user.context.cookies();
  assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Lax"]);
  assert.equal(await page.evaluate(() => document.cookie), "");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.waitForURL("**/login");
  await page.goto("/tell");
  assert.ok(await page.getByRole("button", { name: "Tell" }).isDisabled());

  const tell = (headers) => fetch(`${made.address}/api/messages`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: '{"tag":"a","text":"b"}' });
  assert.equal((await tell({})).status, 401);
  assert.equal((await tell({ authorization: "Bearer wrong" })).status, 401);
  assert.equal((await tell({ authorization: `Bearer ${TOKENS.viewer}` })).status, 403);
  assert.equal((await tell({ authorization: `Bearer ${TOKENS.operator}` })).status, 201);
  const keeping = `hal_token=${Buffer.from(TOKENS.operator).toString("base64url")}`;
  assert.equal((await tell({ cookie: keeping, origin: "https://evil.example" })).status, 403);
  assert.equal((await tell({ cookie: keeping, origin: made.address, "sec-fetch-site": "cross-site" })).status, 403);
  assert.equal((await tell({ cookie: keeping, origin: made.address })).status, 201);
  assert.ok(!made.logs().includes(TOKENS.operator));
});
