// Description:
//   Posts ops messages into a room of this Hubot, and lets the chat command `note` of hal-bridge ask it.
//
// Dependencies:
//   "@nats-io/transport-node", "@nats-io/jetstream", "@nats-io/services"; hal.mjs beside the folder scripts
//
// Configuration:
//   TELLHAL_URL - the NATS server
//   TELLHAL_BRIDGE_KEY - the bridge's public key, which `hal-bridge key` prints
//   TELLHAL_TAG - the tags of the messages, such as backup.>
//   TELLHAL_ROOM - the room
//
// Commands:
//   hubot note <text> - keeps a note, which the command `note` in any chat of hal-bridge shows
//
// Notes:
//   Other scripts get the messages with robot.on('tellhal', (tag, text) => …).
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { contents, serve } from "../hal.mjs";

const { TELLHAL_URL: servers = "nats://127.0.0.1:4222", TELLHAL_BRIDGE_KEY, TELLHAL_TAG = ">", TELLHAL_ROOM } = process.env;
const PLACE = "listen-hubot-room";

export default async (robot) => {
  const bus = await connect({ servers, maxReconnectAttempts: -1 });
  robot.respond(/note (.+)/i, async (response) => {
    robot.brain.set("note", response.match[1]);
    await response.reply("noted");
  });
  const note = () => robot.brain.get("note") ?? "there is no note";
  await serve(bus, TELLHAL_BRIDGE_KEY.split(","), "note", note, { about: "shows the note that Hubot keeps" });
  // Not awaited, since it never ends. An error ends Hubot, so that its supervisor starts it anew.
  post(robot, bus);
};

async function post(robot, bus) {
  const manager = await jetstreamManager(bus);
  // The server keeps this Hubot's place in the log, so that nothing is missed while Hubot is down.
  await manager.consumers.add("HAL_OPS", {
    durable_name: PLACE,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.New,
    filter_subject: `hal.ops.*.${TELLHAL_TAG}`,
  });
  const consumer = await jetstream(bus).consumers.get("HAL_OPS", PLACE);
  for await (const message of await consumer.consume()) {
    // hal . ops . source . tag, which has dots of its own
    const tag = message.subject.split(".").slice(3).join(".");
    const text = contents(message.string());
    robot.emit("tellhal", tag, text);
    await robot.messageRoom(TELLHAL_ROOM, `${tag}: ${text.split("\n")[0]}`);
    message.ack();
  }
}
