// Every view works for every reader: with a screen reader, a keyboard, on a phone, in the dark, at twice the size, on a
// slow machine; and text in a message is never more than text.

import assert from "node:assert/strict";
import { axeSource, headlines, isLive, rows, shows, taken, until } from "./harness.mjs";

const gone = () => ({ status: 404, text: "<script>alert(1)</script>" });
const ROUTES = '[[routes]]\nname = "errors"\nseverity = "error"\nrooms = ["gone", "hook"]\n';
const SITE = { rooms: { gone, hook: taken }, routes: ROUTES };

const HOSTILE = [
  "<script>document.title = 'run'</script>",
  "<img src=x onerror=\"document.title = 'run'\">",
  "</bdi></summary><h1>forged</h1>",
  "javascript:document.title='run'",
  "&lt;b&gt;&amp;",
  "\u001b[31mred\u001b[0m \u001b]8;;https://evil.example\u0007click\u001b]8;;\u0007",
  "gnp.\u202eexe.txt",
  "null \u0000 bell \u0007 back \u0008\u0008",
  "{{constructor.constructor('document.title=1')()}}",
  "👨‍👩‍👧‍👦".repeat(50),
  "W".repeat(2000),
  "__proto__",
  "a\r\nb\rc",
];

// Fills a site with messages of all kinds; returns the views to check.
async function busy(made) {
  for (let n = 0; n < 30; n++) await made.publish(`web${n % 3}`, "deploy.web", { text: `step ${n}`, severity: ["info", "notice", "warning", "debug"][n % 4] });
  const run = { key: "backup", run: { command: "tar" } };
  await made.publish("db1", "backup.files", { ...run, status: "started", title: "tar started" });
  await made.publish("db1", "backup.files", { ...run, status: "succeeded", title: "tar succeeded in 2m", run: { command: "tar", duration: 120, exit: 0 } });
  const bad = await made.publish("db1", "mysql.replication", { severity: "critical", title: "Replication is broken", text: "Last_Error: 1032", fields: { lag: "1843s" }, links: [{ url: "https://wiki.example/repl" }] });
  await until("its fate is known", async () => (await made.api(`/api/messages/${bad.id}`)).settled);
  return ["/", "/?severity=warning&since=1h", `/messages/${bad.id}`, "/problems", "/rooms", "/sources", "/tags", "/explain?tag=backup.files&severity=error", "/tell", "/login"];
}

// True if the page is not wider than the window.
const fits = (page) => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth);

for (const [name, options] of Object.entries({ light: {}, dark: { colorScheme: "dark" }, narrow: { viewport: { width: 360, height: 740 }, hasTouch: true } })) {
  shows(`axe finds nothing, ${name}`, { ...SITE, browser: { ...options, login: "operator" } }, async (made, user) => {
    for (const path of await busy(made)) {
      const page = await user.context.newPage();
      await page.goto(path, { waitUntil: "domcontentloaded" });
      await page.waitForTimeout(600);
      if (path === "/") {
        await isLive(page);
        await page.getByText("Tag, severity, status, source, host, key, time").click();
        await rows(page).first().locator("summary").click();
      }
      await page.evaluate(axeSource());
      const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
      const texts = violations.map(({ id, help, nodes }) => `${path}: ${id}: ${help}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).slice(0, 3).join(" | ")}`);
      assert.deepEqual(texts, []);
      assert.ok(await fits(page), `${path} is wider than the window`);
      await page.close();
    }
  });
}

// The words that are broken over two lines though they would fit into one, and the cells that are out of sight.
const broken = (page) => page.evaluate(() => {
  const found = [];
  const texts = document.createTreeWalker(document.querySelector("body"), NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    if (!node.parentElement.checkVisibility() || node.parentElement.closest(".unseen, .skip, option, noscript, .cards thead")) continue;
    for (const { 0: word, index } of node.data.matchAll(/[\p{L}\p{N}_.]{2,40}/gu)) {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const boxes = [...range.getClientRects()];
      if (new Set(boxes.map(({ top }) => Math.round(top))).size > 1) found.push(`broken: ${word}`);
      if (boxes.some(({ right }) => right > innerWidth)) found.push(`out of sight: ${word}`);
    }
  }
  return found;
});

shows("on a phone no word is broken, and no column is out of sight", { ...SITE, browser: { login: "operator", viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true } }, async (made, user) => {
  await made.publish("database-primary-1", "mysql.replication.lag", { severity: "warning", status: "failed", key: "replication", host: "database-primary-1.europe.example.com", text: "Slave_SQL_Running_State: waiting", fields: { position: "mysql-bin.000412:99120" } });
  for (const path of await busy(made)) {
    const page = await user.context.newPage();
    await page.goto(path);
    await page.waitForTimeout(800);
    if (path === "/") await rows(page).first().locator("summary").click();
    if (path === "/") await rows(page).filter({ hasText: "waiting" }).locator("summary").click();
    await page.waitForTimeout(200);
    assert.deepEqual(await broken(page), [], path);
    assert.ok(await fits(page), `${path} is wider than the window`);
    await page.close();
  }
});

shows("twice the size still fits", { ...SITE, browser: { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 } }, async (made, user) => {
  for (const path of await busy(made)) {
    const page = await user.context.newPage();
    await page.goto(path);
    await page.waitForTimeout(500);
    assert.ok(await fits(page), `${path} is wider than the window`);
    await page.close();
  }
});

shows("hostile text is shown, and never run", { ...SITE, browser: { login: "operator" } }, async (made, user) => {
  const ids = [];
  for (const text of HOSTILE) {
    // Half a character would make it invalid JSON.
    const short = text.slice(0, 200).toWellFormed();
    const fields = { "<b>name</b>": short, __proto__x: "1" };
    const links = [{ url: text.startsWith("javascript") ? text : "https://ok.example", title: short }];
    ids.push(await made.publish("evil", "hostile", { severity: "error", status: "failed", title: short, text, key: short, host: short, user: short, fields, links }));
  }
  ids.push(await made.publish("evil", "hostile", HOSTILE[0]));
  await until("it is in the index", async () => (await made.api("/api/tags")).names.some(({ name }) => name === "hostile"));
  const page = await user.page("/?tag=hostile");
  await rows(page).nth(HOSTILE.length).waitFor();
  await page.locator("summary").evaluateAll((all) => all.forEach((summary) => summary.click()));
  const innocent = async (where) => {
    await page.waitForTimeout(400);
    assert.match(await page.title(), /hal$/, where);
    assert.equal(await page.locator("main script, main img, main iframe, h1 h1").count(), 0, where);
    assert.equal(await page.locator("h1").count(), 1, where);
    assert.equal(await page.locator("a[href^='javascript']").count(), 0, where);
    assert.ok(await fits(page), `${where} is wider than the window`);
    const text = await page.locator("main").innerText();
    assert.doesNotMatch(text, /[\u0000-\u0008\u000b-\u001f\u202a-\u202e]/, where);
  };
  await innocent("messages");
  assert.ok((await headlines(page)).includes("<script>document.title = 'run'</script>"));
  assert.ok((await headlines(page)).includes("red click"), "terminal escapes are left out");
  for (const { id, sequence } of ids) {
    await page.goto(`/messages/${id ?? `seq-${sequence}`}`);
    await page.locator("#fate").waitFor();
    await innocent("message");
  }
  for (const path of ["/problems", "/rooms", "/sources", "/tags"]) {
    await page.goto(path);
    await innocent(path);
  }
  for (const text of HOSTILE) {
    await page.goto(`/?${new URLSearchParams({ text })}`);
    await innocent("search");
    await page.goto(`/explain?${new URLSearchParams({ tag: "hostile", text })}`);
    await innocent("explain");
  }
  await page.goto(`/login?next=${encodeURIComponent('"><script>document.title="run"</script>')}`);
  await innocent("login");
  await page.goto("/messages/%3Cscript%3E");
  await page.getByText("no message <script> is in the log").waitFor();
});

shows("everything can be done by keyboard alone", SITE, async (made, user) => {
  await made.publish("db1", "backup.mysql", { text: "first\nits second line" });
  await made.publish("db1", "backup.files", { text: "second" });
  const page = await user.page();
  await rows(page).nth(1).waitFor();
  await isLive(page);
  const focused = () => page.evaluate(() => document.activeElement.innerText || document.activeElement.name || document.activeElement.id);
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("/");
  assert.equal(await focused(), "text");
  await page.keyboard.type("second");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/?text=second");
  await rows(page).nth(1).waitFor();
  // Tab leads from the search to the first message, arrows lead over the messages.
  await page.keyboard.press("/");
  for (let n = 0; n < 20 && !(await page.evaluate(() => document.activeElement.matches(".row summary"))); n++) await page.keyboard.press("Tab");
  assert.match(await focused(), /backup\.files/);
  await page.keyboard.press("ArrowDown");
  assert.match(await focused(), /backup\.mysql/);
  await page.keyboard.press("Enter");
  await page.getByText("its second line").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Full message and deliveries");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Deliveries" }).waitFor();
  for (const name of ["Problems", "Rooms", "Sources", "Tags", "Explain", "Tell", "Messages"]) {
    const link = page.getByRole("link", { name, exact: true });
    await link.focus();
    assert.notEqual(await link.evaluate((it) => getComputedStyle(it).outlineStyle), "none", "the focus is seen");
    await page.keyboard.press("Enter");
    await page.locator(`nav a[aria-current]`, { hasText: name }).waitFor();
  }
});

shows("nothing jumps while it loads, and a slow script loses nothing", { ...SITE, browser: {} }, async (made, user) => {
  const paths = await busy(made);
  // Scripts are slow: the page without them has working forms, and nothing moves when they run.
  await user.context.route("**/*.js", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 400));
    await route.continue();
  });
  for (const path of paths) {
    const page = await user.context.newPage();
    await page.addInitScript(() => {
      window.shifts = 0;
      new PerformanceObserver((list) => list.getEntries().forEach((entry) => { if (!entry.hadRecentInput) window.shifts += entry.value; })).observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(path, { waitUntil: "commit" });
    await page.locator("main h1").waitFor({ state: "attached" });
    await page.waitForTimeout(1500);
    const shifts = await page.evaluate(() => window.shifts);
    assert.ok(shifts < 0.02, `${path} shifts by ${shifts}`);
    await page.close();
  }
  const page = await user.context.newPage();
  await page.goto("/", { waitUntil: "commit" });
  await page.getByLabel("Search").fill("replication");
  await page.waitForTimeout(1500);
  assert.equal(await page.getByLabel("Search").inputValue(), "replication", "what was typed stays");
  await page.getByLabel("Search").press("Enter");
  await page.waitForURL(/text=replication/);
  await rows(page).first().waitFor();
  assert.deepEqual(await headlines(page), ["Replication is broken"]);
});

shows("without scripts the page says so and names the API", { ...SITE, browser: { javaScriptEnabled: false } }, async (made, user) => {
  const page = await user.page();
  const note = page.locator("noscript");
  assert.match(await note.textContent(), /This page needs JavaScript/);
  assert.ok((await note.boundingBox()).height > 10);
  await page.goto("/login");
  await page.getByLabel("Token").fill("viewer");
});
