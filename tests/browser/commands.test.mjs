// The command box, and what was asked in all chats as a conversation.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { shows } from "./harness.mjs";

const BRIDGE = `
[[people]]
name = "ann"
roles = ["operator"]
page = "operator"
[[people]]
name = "bob"
roles = ["operator"]
page = "viewer"
[[commands]]
name = "reboot"
allow = ["operator"]
approve = "second-person"
[[commands]]
name = "*"
allow = ["operator"]
`;

const ask = async (page, line) => {
  await page.getByLabel("Command").fill(line);
  await page.getByLabel("Command").press("Enter");
};
const answer = (page, text) => page.locator("#running pre", { hasText: text }).first().waitFor();

shows("a line is answered, and everybody sees what was asked", { bridge: BRIDGE, browser: { login: "operator" } }, async (made, user) => {
  await made.serve("uptime", "echo <b>up</b> 3 days");
  await made.serve("reboot", "echo rebooting");
  await made.serve("slow", "sh -c 'echo step 1; sleep 4; echo over'");
  const page = await user.page("/commands");
  await ask(page, "help");
  await answer(page, "lists the commands that you may give now");
  await ask(page, "uptime");
  // Text of a program is text, never markup.
  await answer(page, "<b>up</b> 3 days");
  // A picture is shown in the answer and in the conversation.
  const square = await page.screenshot({ clip: { x: 0, y: 0, width: 300, height: 120 } });
  writeFileSync(join(made.folder, "load.png"), square);
  await made.serve("load", `sh -c 'cp ${join(made.folder, "load.png")} $TELLHAL_FILES; echo the load of web1'`);
  await ask(page, "load");
  await answer(page, "the load of web1");
  const picture = async (where) => page.locator(`${where} img[alt="load.png"]`).first().evaluate((image) => image.decode().then(() => image.naturalWidth));
  assert.deepEqual([await picture("#running"), await picture("#asked")], [300, 300]);
  await ask(page, "slow");
  await page.locator("#running .note", { hasText: "step 1" }).waitFor();
  await answer(page, "over");
  await ask(page, "reboot");
  await answer(page, "needs another person: approve");
  const id = (await page.locator("#running pre").first().innerText()).match(/approve (\w+)/)[1];
  await ask(page, `approve ${id}`);
  await answer(page, "another person must approve it");

  const conversation = page.locator(`[id="${id}"]`);
  await conversation.getByText("reboot", { exact: true }).waitFor();
  await conversation.getByText("… waits").waitFor();
  const other = await page.request.post("/api/commands", { data: { line: `approve ${id}` }, headers: { authorization: "Bearer wall-0123456789abcdef" } });
  assert.equal(other.status(), 200);
  const last = JSON.parse((await other.text()).trim().split("\n").at(-1));
  assert.equal(last.answer, "reboot, asked by ann:\nrebooting\n".trim());
  await conversation.getByText("✓ approved").waitFor();
  await conversation.getByText("by bob").waitFor();
  await conversation.locator("pre", { hasText: "rebooting" }).waitFor();
});

shows("without a token only help and whoami are answered, and a bridge that is gone is told", { bridge: BRIDGE }, async (made, user) => {
  const page = await user.page("/commands");
  await page.getByText("Without a token you are nobody").waitFor();
  await ask(page, "whoami");
  await answer(page, "nobody that the rules know");
  await ask(page, "uptime");
  await answer(page, "this account is nobody's");
  await page.locator(".conversation .denied").first().waitFor();
  await made.bridge.kill();
  await ask(page, "help");
  await answer(page, "no bridge is there to answer");
});
