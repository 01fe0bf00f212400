// Pictures of the page with something in it, for people to look at: node tests/browser/screenshots.mjs FOLDER
// Those in the README are messages.png, message.png and commands.png.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { TOKENS, browser, site, taken, until } from "./harness.mjs";

const folder = process.argv[2];
if (!folder) throw new Error("usage: node tests/browser/screenshots.mjs FOLDER");
mkdirSync(folder, { recursive: true });

const ROUTES = `
[[routes]]
name = "backups"
tag = "backup.>"
severity = "error"
rooms = ["dba", "oncall"]
[[routes]]
name = "databases"
tag = ["mysql.>", "*.mysql"]
severity = "warning"
rooms = ["dba"]
throttle = "10m"
[[routes]]
name = "deploys"
tag = "deploy.>"
rooms = ["dba"]
`;
const BRIDGE = `
[[people]]
name = "ann"
roles = ["operator"]
page = "operator"
[[people]]
name = "ben"
roles = ["operator"]
page = "viewer"
[[commands]]
name = "deploy"
allow = ["operator"]
args = [{ name = "target", one_of = ["staging", "production"] }]
when = { target = "production" }
approve = "second-person"
[[commands]]
name = "*"
allow = ["operator"]
`;
const made = await site({ bridge: BRIDGE, rooms: { dba: taken, oncall: () => ({ status: 404, text: "no such channel" }) }, routes: ROUTES });
const chromium = await browser();

async function shoot(name, path, { click = [], full, ...options } = {}) {
  const user = await chromium.open(made.address, { viewport: { width: 1200, height: 720 }, ...options });
  const page = await user.page(path);
  await page.waitForTimeout(1_200);
  for (const selector of click) {
    await page.locator(selector).first().click();
    await page.waitForTimeout(200);
  }
  await page.mouse.move(0, 0);
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: Boolean(full) });
  await user.close();
  console.log(`${name}.png`);
}

const STORY = [
  ["web1", "deploy.web", { status: "started", title: "deploy started", key: "deploy.web", run: { command: "deploy" } }],
  ["cache1", "disk.report", { text: "/var is 71 % full" }],
  ["web1", "deploy.web", { status: "succeeded", severity: "notice", title: "deploy succeeded in 1m 12s", key: "deploy.web", run: { command: "deploy", duration: 72, exit: 0 } }],
  ["db2", "mysql.replication", { severity: "warning", text: "Replication is 42 s behind", key: "replication" }],
  ["mail", "queue.depth", { text: "4021 jobs in queue outgoing", fields: { queue: "outgoing" } }],
  ["db2", "mysql.replication", { severity: "warning", text: "Replication is 310 s behind", key: "replication" }],
  ["build", "cert.expiry", { severity: "notice", text: "The certificate of ci.example.com expires in 9 days" }],
  ["db1", "backup.mysql", { status: "started", title: "mysqldump started", key: "backup.mysql", run: { command: "mysqldump" } }],
  ["db2", "mysql.replication", { severity: "critical", title: "Replication is broken", text: "Slave_SQL_Running: No\nLast_Error: Could not execute Write_rows event on table shop.orders; Duplicate entry '1032' for key 'PRIMARY'", key: "replication", fields: { lag: "1843s", position: "mysql-bin.000412:99120" }, links: [{ url: "https://wiki.example.com/replication", title: "What to do" }] }],
  ["web2", "cron.cleanup", { text: "Removed 312 old sessions" }],
  ["db1", "backup.mysql", { status: "failed", severity: "error", title: "mysqldump failed with status 2 after 3m 20s", text: "dumping shop… ok\ndumping stats… ok\ndumping audit…\nmysqldump: Got error: 1045: Access denied for user 'backup'@'db1' (using password: YES) when trying to connect", key: "backup.mysql", fields: { size: "3.1 GB" }, run: { command: "mysqldump", duration: 200, exit: 2 } }],
  ["web1", "deploy.api", { severity: "notice", text: "Version 2026.11.24 is out" }],
];

try {
  await shoot("empty", "/");
  for (let round = 0; round < 12; round++) {
    for (const [source, tag, message] of STORY) {
      await made.publish(source, tag, { ...message, host: `${source}.example.com` });
      await new Promise((resolve) => setTimeout(resolve, 12 + ((round * 37) % 50)));
    }
  }
  // One more, while a room is busy: its attempts are in the picture.
  await until("nothing waits", async () => (await made.api("/api/rooms")).rooms.every(({ pending }) => pending === 0));
  let busy = 3;
  made.sinks.dba.answer(() => (busy-- > 0 ? { status: 503, text: "upstream is busy" } : taken()));
  const [source, tag, backup] = STORY.find(([, , { status }]) => status === "failed");
  const { id: failed } = await made.publish(source, tag, { ...backup, host: `${source}.example.com`, tag });
  await until("its fate is known", async () => (await made.api(`/api/messages/${failed}`)).settled);
  await shoot("messages", "/", { click: [".row.critical summary"] });
  await shoot("message", `/messages/${failed}`, { full: true });
  await shoot("problems", "/problems");
  await shoot("over", "/?status=failed");
  await shoot("rooms", "/rooms", { login: "operator" });
  await shoot("sources", "/sources");
  await shoot("explain", "/explain?tag=backup.mysql&severity=error&text=Access+denied", { full: true });
  await made.serve("deploy", "sh -c 'echo \"$1: version 2026.11.27 is out on web1, web2, web3\"' deploy {target}");
  await made.serve("disk", "sh -c 'printf \"web1  /var  71 %%\\nweb2  /var  64 %%\\ndb1   /var  93 %%\\n\"'");
  const give = async (token, line) => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const response = await fetch(`${made.address}/api/commands`, { method: "POST", headers, body: JSON.stringify({ line }) });
    return JSON.parse((await response.text()).trim().split("\n").at(-1)).answer;
  };
  const [ann, ben] = [TOKENS.operator, TOKENS.viewer];
  await give(ann, "uptme");
  await give(ben, "disk");
  const waits = await give(ann, "deploy production");
  await give(ben, `approve ${waits.match(/approve (\w+)/)[1]}`);
  await shoot("commands", "/commands", { login: "operator" });
  await shoot("tell", "/tell", { login: "operator" });
  await shoot("dark", "/?severity=notice", { colorScheme: "dark" });
  await shoot("narrow", "/", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 });
  await shoot("narrow-message", `/messages/${failed}`, { viewport: { width: 390, height: 844 }, full: true });
} finally {
  await chromium.close();
  await made.stop();
}
