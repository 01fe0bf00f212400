// Answers the chat command `deploy TARGET`: arguments, progress, an answer, a failure.
//   npm install @nats-io/transport-node @nats-io/services
//   TELLHAL_URL=nats://server TELLHAL_BRIDGE_KEY=UC5C… node handler.mjs      (hal-bridge key prints the key)
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";
import { Failed, serve } from "./hal.mjs";

async function deploy(request, progress) {
  const [target] = request.args;
  if (request.args.length !== 1 || !["staging", "production"].includes(target)) {
    throw new Failed("it is deploy staging or deploy production");
  }
  progress(`copying to ${target}`);
  await sleep(100);
  // The bridge knows the person, and has looked up that they may.
  return `${target} is deployed for ${request.person}`;
}

const bus = await connect({ servers: process.env.TELLHAL_URL ?? "nats://127.0.0.1:4222", maxReconnectAttempts: -1 });
const keys = process.env.TELLHAL_BRIDGE_KEY.split(",");
await serve(bus, keys, "deploy", deploy, { usage: "deploy TARGET", about: "deploys the web servers" });
console.error("serves deploy");
