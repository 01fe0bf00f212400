// The environment of the browser tests: a real nats-server, a real hal-relay, rooms with scripted answers, and Debian's
// Chromium. All of them listen on loopback, have their files in a folder of their own, and are removed at the end.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createServer as createSocket } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const repository = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const target = process.env.CARGO_TARGET_DIR || join(repository, "target");
const packages = createRequire(join(target, "tools/node/index.js"));
const { chromium } = packages("playwright-core");
const { connect, headers } = packages("@nats-io/transport-node");

export const SOON = 20_000; // ms: long enough for an expected event, on a busy machine
export const TOKENS = { operator: "oncall-0123456789abcdef", viewer: "wall-0123456789abcdef" };

function program(name, variable, ...more) {
  if (process.env[variable]) return process.env[variable];
  const folders = [...more, ...(process.env.PATH || "").split(delimiter), "/usr/sbin"];
  const path = folders.map((folder) => join(folder, name)).find(existsSync);
  if (!path) throw new Error(`${name} is not installed: run tests/run --tools once`);
  return path;
}

// fetch and browsers refuse some ports, such as 5060 and 6667 (https://fetch.spec.whatwg.org/#port-blocking); none of these is among them.
const [FIRST_PORT, LAST_PORT] = [7_000, 10_079];

// A port for a server that needs the same one after a restart. It is outside the range from which the system takes ports
// for clients and for `listen(0)`, and outside that of the Rust tests; the same port of another loopback address is
// held until the end, so that files of tests that run at the same time choose others.
let nextPort = FIRST_PORT + ((process.pid * 97) % (LAST_PORT - FIRST_PORT));

async function freePort() {
  for (let tries = 0; tries < LAST_PORT - FIRST_PORT; tries += 1) {
    const port = nextPort;
    nextPort = port < LAST_PORT ? port + 1 : FIRST_PORT;
    const [held, tried] = [await listening(port, "127.0.0.2"), await listening(port, "127.0.0.1")];
    if (tried) await new Promise((done) => tried.close(done));
    if (held && tried) return port;
    held?.close();
  }
  throw new Error(`no port from ${FIRST_PORT} to ${LAST_PORT} is free`);
}

function listening(port, address) {
  const socket = createSocket().unref();
  return new Promise((done) => socket.once("error", () => done(null)).listen(port, address, () => done(socket)));
}

// Waits until `look` returns a value.
export async function until(what, look, patience = SOON) {
  const end = Date.now() + patience;
  for (;;) {
    const result = await look();
    if (result) return result;
    if (Date.now() > end) throw new Error(`waited ${patience} ms in vain: ${what}`);
    await sleep(20);
  }
}

class Process {
  constructor(name, command, args, folder, env = {}) {
    Object.assign(this, { name, command, args, env, log: join(folder, `${name}.log`) });
    this.start();
  }

  start() {
    const log = openSync(this.log, "a");
    this.child = spawn(this.command, this.args, { stdio: ["ignore", log, log], env: { ...process.env, ...this.env } });
    this.ended = new Promise((done) => this.child.once("exit", done));
  }

  async kill(signal = "SIGKILL") {
    this.child.kill(signal);
    await this.ended;
  }
}

const ROOM = (name, url) => `[rooms.${name}.webhook]\nurl = "${url}"\nallow_private = true\n`;

// Keys and accounts of a server, as deploy/nats/users makes them. The host without credentials sends as any source.
function users(folder, bin) {
  const env = { ...process.env, HAL_NATS_DIR: folder, TELLHAL: join(bin, "tellhal") };
  for (const words of [["init"], ["add", "host", "tests", "--no-auth"], ["add", "handler", "tests", "--command", "*"]]) {
    execFileSync(join(repository, "deploy/nats/users"), words, { env, stdio: ["ignore", "ignore", "pipe"] });
  }
  const accounts = readFileSync(join(folder, "accounts.conf"), "utf8").replaceAll("hal.ops.tests.>", "hal.ops.*.>");
  return { accounts, key: (name) => `nkey_file = "${join(folder, "keys", `${name}.nk`)}"\n` };
}

// A relay with its server, and `rooms` by name: functions from the number of the post to an answer. With `bridge`, the
// configuration of one, a bridge runs too.
export async function site({ rooms = {}, config = "", routes = "", bridge } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "tellhal-browser-"));
  const [natsPort, port] = [await freePort(), await freePort()];
  const sinks = {};
  const bin = process.env.TELLHAL_BIN_DIR || join(target, "debug");
  const { accounts, key } = users(join(folder, "users"), bin);
  let text = `default_room = "page"\n${config}\n${routes}\n[nats]\nurl = "nats://127.0.0.1:${natsPort}"\n${key("relay-main")}[page]\nlisten = "127.0.0.1:${port}"\n`;
  text += Object.entries(TOKENS).map(([role, token]) => `[[page.tokens]]\nname = "${role}"\nrole = "${role}"\ntoken = "${token}"\n`).join("");
  for (const [name, answer] of Object.entries(rooms)) {
    sinks[name] = await sink(answer);
    text += ROOM(name, sinks[name].url);
  }
  writeFileSync(join(folder, "relay.toml"), text);
  const server = program("nats-server", "NATS_SERVER", join(target, "tools/venv/bin"));
  writeFileSync(join(folder, "nats.conf"), `listen: "127.0.0.1:${natsPort}"\njetstream { store_dir: "${join(folder, "data")}" }\n${accounts}`);
  const nats = new Process("nats-server", server, ["-c", join(folder, "nats.conf")], folder);
  const relay = new Process("hal-relay", join(bin, "hal-relay"), ["run", "--config", join(folder, "relay.toml")], folder, { STATE_DIRECTORY: folder });
  const address = `http://127.0.0.1:${port}`;
  const url = `nats://127.0.0.1:${natsPort}`;
  const others = [];
  if (bridge !== undefined) {
    writeFileSync(join(folder, "bridge.toml"), `${bridge}\n[nats]\nurl = "${url}"\n${key("bridge-main")}[handlers.nats]\nurl = "${url}"\n${key("commands-main")}[http]\nlisten = "127.0.0.1:${await freePort()}"\n`);
    others.push(new Process("hal-bridge", join(bin, "hal-bridge"), ["run", "--config", join(folder, "bridge.toml")], folder, { STATE_DIRECTORY: folder }));
  }
  writeFileSync(join(folder, "serve.toml"), `[nats]\nurl = "${url}"\n${key("handler-tests")}`);
  const made = {
    address, folder, nats, relay, sinks, bridge: others[0],
    // Serves a command by a program, until the end.
    async serve(name, program) {
      const served = new Process(`serve-${name}`, join(bin, "tellhal"), ["serve", name, "--exec", program, "--config", join(folder, "serve.toml")], folder, { HOME: folder });
      others.push(served);
      await until(`${name} is served`, () => readFileSync(served.log, "utf8").includes("serves "));
    },
    async ready() {
      await until("the relay is ready", async () => {
        const answer = await fetch(`${address}/readyz`).catch(() => null);
        return answer?.ok && (await answer.text()).startsWith("leading");
      });
    },
    // Publishes a message; returns its id and sequence.
    async publish(source, tag, message) {
      const bus = await (this.bus ??= connect({ servers: `127.0.0.1:${natsPort}` }));
      const head = headers();
      const body = typeof message === "string" ? message : { v: 1, id: crypto.randomUUID(), time: new Date().toISOString(), tag, source, severity: "info", text: "", ...message };
      if (body.id) head.set("Nats-Msg-Id", body.id);
      const answer = await bus.request(`hal.ops.${source}.${tag}`, typeof body === "string" ? body : JSON.stringify(body), { headers: head, timeout: 5_000 });
      return { id: body.id, sequence: answer.json().seq };
    },
    // Publishes numbered messages, a hundred at once.
    async ticks(tag, from, to) {
      for (let n = from; n < to; n += 100) {
        const some = Array.from({ length: Math.min(100, to - n) }, (_, more) => this.publish("web1", tag, { text: `tick ${n + more}` }));
        await Promise.all(some);
      }
    },
    async api(path, options = {}) {
      const answer = await fetch(address + path, { ...options, headers: { authorization: `Bearer ${TOKENS.operator}`, ...options.headers } });
      return answer.status === 204 ? null : answer.json();
    },
    logs: () => [nats, relay, ...others].map(({ name, log }) => `--- ${name}\n${readFileSync(log, "utf8").split("\n").slice(-15).join("\n")}`).join("\n"),
    async stop() {
      await (await this.bus)?.close();
      for (const other of others) await other.kill();
      await relay.kill();
      await nats.kill();
      Object.values(sinks).forEach(({ server: each }) => each.close());
      rmSync(folder, { recursive: true, force: true });
    },
  };
  // Programs that still run would keep node from ending.
  await made.ready().catch(async (error) => {
    error.message += `\n${made.logs()}`;
    await made.stop();
    throw error;
  });
  return made;
}

async function sink(answer) {
  const posts = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => { body += part; });
    request.on("end", () => {
      if (request.method !== "POST") return response.writeHead(405).end();
      posts.push(JSON.parse(body));
      const { status, text = "" } = answer(posts.length);
      response.writeHead(status).end(text);
    });
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return { server, posts, url: `http://127.0.0.1:${server.address().port}/in`, answer: (other) => { answer = other; } };
}

export const taken = () => ({ status: 200, text: "ok" });

// A name of this machine that browsers do not take for this machine: to them it is another one without encryption.
const NAME = "hal.test";

// One browser for a file of tests. A page fails its test by an error of its script, and by asking for anything that
// is not the relay's.
export async function browser() {
  const launched = await chromium.launch({
    executablePath: program("chromium", "CHROMIUM"),
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", `--host-resolver-rules=MAP ${NAME} 127.0.0.1`],
  });
  return {
    async open(address, { login, ...options } = {}) {
      const context = await launched.newContext({ baseURL: address, locale: "en-GB", ...options });
      context.setDefaultTimeout(SOON);
      const troubles = [];
      context.on("request", (request) => {
        if (!request.url().startsWith(address)) troubles.push(`it asked for ${request.url()}`);
      });
      context.on("weberror", (error) => troubles.push(error.error().stack));
      context.on("console", (message) => {
        // The browser logs an error while the relay is away, and so does the page.
        const away = /Failed to load resource|net::ERR_(CONNECTION|INCOMPLETE|EMPTY)/.test(message.text());
        if (message.type() === "error" && !away) troubles.push(message.text());
      });
      if (login) {
        const value = Buffer.from(TOKENS[login]).toString("base64url");
        await context.addCookies([{ name: "hal_token", value, url: address, httpOnly: true, sameSite: "Lax" }]);
      }
      return {
        context,
        async page(path = "/") {
          const page = await context.newPage();
          await page.goto(path);
          return page;
        },
        // Closes the context, and throws the errors of its pages.
        async close() {
          await context.close();
          if (troubles.length) throw new Error(troubles.join("\n"));
        },
      };
    },
    close: () => launched.close(),
  };
}

export const axeSource = () => readFileSync(packages.resolve("axe-core/axe.min.js"), "utf8");
export const filterCases = () => JSON.parse(readFileSync(join(repository, "relay/src/index/filter_cases.json"), "utf8"));

let chromiumOfThisFile;

// A test with a site and a browser of its own. `options` are the site's, and the browser context's under `browser`;
// with `byName` the browser is on another machine, as far as it knows.
// Five minutes are for slow machines.
// An error in the page fails it, and every failure shows the servers' last log lines.
export function shows(name, options, run) {
  if (!chromiumOfThisFile) {
    before(async () => { chromiumOfThisFile = await browser(); });
    after(() => chromiumOfThisFile.close());
    chromiumOfThisFile = true;
  }
  test(name, { timeout: 300_000 }, async () => {
    const made = await site(options);
    const address = options.byName ? made.address.replace("127.0.0.1", NAME) : made.address;
    const user = await chromiumOfThisFile.open(address, options.browser);
    try {
      await run(made, user);
      await user.close();
    } catch (error) {
      error.message += `\n${made.logs()}`;
      throw error;
    } finally {
      await made.stop();
    }
  });
}

// Locators for the page of messages.
export const rows = (page) => page.locator(".row");
export const headlines = (page) => page.locator(".row > details > summary .headline bdi").allTextContents();
export const isLive = (page) => page.locator('#connection[data-state="live"]').waitFor();

// Another page in front hides this one only in a real window, so the page is told.
export const hide = (page, hidden) => page.evaluate((hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}, hidden);
