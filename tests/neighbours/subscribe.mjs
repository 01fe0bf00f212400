// Prints tag and contents of every ops message, with nothing but the NATS client:
//   npm install @nats-io/transport-node && NATS_USER=listener NATS_PASSWORD=… node subscribe.mjs [nats://server]
import { connect } from "@nats-io/transport-node";

// Our messages are JSON objects with a version; everything else is plain text.
function contents(text) {
  try {
    const message = JSON.parse(text);
    if (message?.v !== undefined) return message.text || message.title || "";
  } catch {
    // Plain text.
  }
  return text;
}

const { NATS_USER: user, NATS_PASSWORD: pass } = process.env;
const bus = await connect({ servers: process.argv[2] ?? "nats://127.0.0.1:4222", user, pass });
const messages = bus.subscribe("hal.ops.>");
await bus.flush();
console.error("listening");
for await (const message of messages) {
  // hal . ops . source . tag, which has dots of its own
  const tag = message.subject.split(".").slice(3).join(".");
  console.log(`${tag}: ${contents(message.string())}`);
}
