// The driver of tests/bench/page: the page on a real relay and in a real browser. Prints Markdown tables.

import { execFileSync } from "node:child_process";
import { createWriteStream, readFileSync, readdirSync, statSync } from "node:fs";
import { get } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { browser, site, until } from "../browser/harness.mjs";

const PAGES = 100;
const RATE = 200; // messages a second
const SECONDS = 30;

const argument = (name, or) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? or : Number(process.argv[at + 1]);
};
const MESSAGES = argument("messages", 1_000_000);
const ROUNDS = argument("rounds", 15);

const median = (all) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)];
const quartiles = (all) => {
  const sorted = [...all].sort((a, b) => a - b);
  const [a, b, c] = [0.25, 0.5, 0.75].map((part) => sorted[Math.floor((sorted.length - 1) * part)]);
  return `${show(b)} (${show(a)}–${show(c)})`;
};
const show = (number) => (number >= 100 ? Math.round(number) : number >= 10 ? number.toFixed(1) : number.toFixed(2));
const mib = (bytes) => (bytes / 2 ** 20).toFixed(1);
const table = (heads, rows) => console.log(`\n| ${heads.join(" | ")} |\n|${heads.map((_, i) => (i ? "---:" : "---")).join("|")}|\n${rows.map((row) => `| ${row.join(" | ")} |`).join("\n")}`);

const rss = (pid) => Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+)/)[1]) * 1024;
const cpu = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
};

const TAGS = ["backup.mysql", "backup.files", "deploy.web", "disk.report", "mysql.replication", "cron.cleanup", "cert.expiry", "queue.depth"];
const WORDS = "the quick backup of database finished after some seconds while replication lagged behind and the disk was nearly full on host with error code warning retry connection timeout user session cache index table".split(" ");

// Ids like tellhal's: UUIDs of version 7, which begin with the time.
function id() {
  const time = Date.now().toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`;
}

function message(n) {
  // About 300 bytes of JSON; the words differ from message to message.
  let text = "";
  for (let i = 0, x = n * 2654435761 + 1; i < 22; i++) {
    x = (x * 1103515245 + 12345) % 2147483648;
    text += `${WORDS[x % WORDS.length]} `;
  }
  return {
    source: `host${n % 300}`, tag: TAGS[n % TAGS.length],
    body: { id: id(), severity: ["info", "info", "info", "notice", "warning", "info", "error", "debug"][(n * 7) % 8], text: `${text}number ${n}.` },
  };
}

async function fill(made, total) {
  const file = join(made.folder, "dump.jsonl");
  const dump = createWriteStream(file);
  const begun = performance.now();
  for (let n = 0; n < total;) {
    const batch = [];
    for (const end = Math.min(total, n + 512); n < end; n++) {
      const { source, tag, body } = message(n);
      batch.push(made.publish(source, tag, body));
      dump.write(`${JSON.stringify({ source, tag, ...body })}\n`);
    }
    await Promise.all(batch);
  }
  await new Promise((done) => dump.end(done));
  const published = (performance.now() - begun) / 1000;
  await until("the index has them all", async () => {
    const [newest] = (await made.api("/api/messages?limit=1")).messages;
    const page = await made.api(`/api/messages?limit=1&cursor=${newest.sequence - 1500}`);
    return page.messages.length === 1 && !page.incomplete;
  }, 1_800_000);
  return { file, published, indexed: (performance.now() - begun) / 1000 };
}

async function coldLoad(made, chromium) {
  const [paint, rows, transferred, requests] = [[], [], [], []];
  for (let round = 0; round < ROUNDS + 2; round++) {
    const user = await chromium.open(made.address);
    const page = await user.context.newPage();
    await page.goto("/", { waitUntil: "commit" });
    await page.locator(".row").first().waitFor();
    await page.waitForTimeout(300);
    const seen = await page.evaluate(() => {
      const entries = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
      const files = entries.filter(({ name }) => !name.includes("/api/stream"));
      return {
        paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
        rows: performance.getEntriesByName("rows")[0]?.startTime ?? performance.getEntriesByType("resource").find(({ name }) => name.includes("/api/messages")).responseEnd,
        bytes: files.reduce((sum, { transferSize }) => sum + transferSize, 0),
        requests: files.length,
      };
    });
    if (round >= 2) {
      paint.push(seen.paint);
      rows.push(seen.rows);
      transferred.push(seen.bytes);
      requests.push(seen.requests);
    }
    await user.close();
  }
  return { paint, rows, transferred, requests };
}

// Another open page: reads the stream and counts messages.
function reader(address) {
  const made = { messages: 0 };
  made.request = get(`${address}/api/stream`, (answer) => answer.on("data", (part) => {
    made.messages += part.toString("latin1").split("\nid: ").length - 1 + (part.toString("latin1").startsWith("id: ") ? 1 : 0);
  }));
  made.request.on("error", () => {});
  return made;
}

async function manyPages(made, chromium) {
  const { pid } = made.relay.child;
  const before = rss(pid);
  const user = await chromium.open(made.address);
  const page = await user.page();
  await page.locator('#connection[data-state="live"]').waitFor();
  const others = Array.from({ length: PAGES - 1 }, () => reader(made.address));
  await sleep(2_000);
  const [idle, cpuBefore] = [rss(pid), cpu(pid)];
  // The time from the publish until the row is on the page, for every tenth message.
  await page.evaluate(() => {
    window.late = [];
    new MutationObserver((changes) => {
      const now = Date.now();
      for (const { addedNodes } of changes) {
        for (const node of addedNodes) {
          const sent = /sent=(\d+)/.exec(node.textContent)?.[1];
          if (sent) window.late.push(now - Number(sent));
        }
      }
    }).observe(document.querySelector("#messages"), { childList: true, subtree: true });
  });
  const begun = performance.now();
  let highest = 0;
  for (let n = 0; n < RATE * SECONDS; n++) {
    const due = begun + (n * 1000) / RATE;
    if (due > performance.now()) await sleep(due - performance.now());
    const { source, tag, body } = message(n);
    made.publish(source, tag, { ...body, text: n % 10 ? body.text : `sent=${Date.now()} ${body.text}` });
    if (n % RATE === 0) highest = Math.max(highest, rss(pid));
  }
  const took = (performance.now() - begun) / 1000;
  await sleep(1_500);
  const used = cpu(pid) - cpuBefore;
  const session = await user.context.newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const heap = (await session.send("Runtime.getHeapUsage")).usedSize;
  const { nodes } = await session.send("Memory.getDOMCounters");
  const late = await page.evaluate(() => window.late);
  const rows = await page.locator(".row").count();
  const complete = others.filter(({ messages }) => messages >= RATE * SECONDS).length;
  others.forEach(({ request }) => request.destroy());
  await user.close();
  return { before, idle, highest: Math.max(highest, rss(pid)), share: used / took, heap, nodes, rows, late, complete };
}

async function searches(made, file) {
  const word = `"number ${Math.floor(MESSAGES / 3)}."`;
  const cases = [
    ["one word in a million", `text=${encodeURIComponent(word)}`, ["-F", "-i", "-c", `number ${Math.floor(MESSAGES / 3)}.`]],
    ["words that are nowhere", "text=no-such-word", ["-F", "-i", "-c", "no-such-word"]],
    ["two common words, the newest 100", "text=backup+disk", null],
    ["a tag pattern and a severity", "tag=deploy.*&severity=error", null],
    ["one source, seen by nobody", "source=nowhere", null],
  ];
  const rows = [];
  for (const [name, query, grep] of cases) {
    const [times, floors] = [[], []];
    let count = 0;
    for (let round = 0; round < 7; round++) {
      let begun = performance.now();
      const answer = await made.api(`/api/messages?${query}`);
      times.push(performance.now() - begun);
      count = answer.messages.length;
      if (answer.incomplete) throw new Error(`${name}: ${JSON.stringify(answer.incomplete)}`);
      if (!grep) continue;
      begun = performance.now();
      try {
        execFileSync("grep", [...grep, file], { env: { LC_ALL: "C" } });
      } catch {
        // grep has an exit status of its own for no match.
      }
      floors.push(performance.now() - begun);
    }
    rows.push([name, count, quartiles(times), grep ? (median(times) / median(floors)).toFixed(2) : "–"]);
  }
  for (const [name, path] of [["timeline of everything", "/api/timeline"], ["timeline of a word", "/api/timeline?text=backup"], ["sources, how often each", "/api/sources?limit=500"]]) {
    const times = [];
    for (let round = 0; round < 7; round++) {
      const begun = performance.now();
      const answer = await made.api(path);
      if (answer.incomplete) throw new Error(name);
      times.push(performance.now() - begun);
    }
    rows.push([name, "–", quartiles(times), "–"]);
  }
  return rows;
}

const chromium = await browser();
const made = await site();
try {
  await fill(made, 2_000);
  const cold = await coldLoad(made, chromium);
  table(["a cold load, 100 messages", "ms or KiB"], [
    ["first paint, ms", quartiles(cold.paint)],
    ["first messages there, ms", quartiles(cold.rows)],
    ["transferred, KiB", show(median(cold.transferred) / 1024)],
    ["requests", median(cold.requests)],
  ]);
  const many = await manyPages(made, chromium);
  table([`${PAGES} open pages, ${RATE} messages a second`, "value"], [
    ["relay's memory before any page, MiB", mib(many.before)],
    ["with the pages open, MiB", mib(many.idle)],
    ["at most while it flows, MiB", mib(many.highest)],
    ["relay's share of one core", `${(many.share * 100).toFixed(0)} %`],
    [`pages of ${PAGES - 1} that got every message`, many.complete],
    ["the tab's heap, MiB", mib(many.heap)],
    ["the tab's rows, DOM nodes", `${many.rows}, ${many.nodes}`],
    ["from publish to row, ms", quartiles(many.late)],
  ]);
  const filled = await fill(made, MESSAGES);
  const size = (test) => readdirSync(made.folder).filter(test).reduce((sum, name) => sum + statSync(join(made.folder, name)).size, 0);
  const rows = await searches(made, filled.file);
  table([`over ${MESSAGES} messages`, "found", "ms", "× grep"], rows);
  table(["the index", "value"], [
    ["published in, s", show(filled.published)],
    ["and in the index after, s", show(filled.indexed)],
    ["its size, MiB", mib(size((name) => name.startsWith("index-")))],
    ["the same messages as lines of JSON, MiB", mib(size((name) => name === "dump.jsonl"))],
    ["relay's memory after it all, MiB", mib(rss(made.relay.child.pid))],
  ]);
} catch (error) {
  console.error(made.logs());
  throw error;
} finally {
  await chromium.close();
  await made.stop();
}
