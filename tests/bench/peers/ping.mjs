// The chat command `ping` in Node, as tests/neighbours/handler.mjs answers its own.
import { connect } from "@nats-io/transport-node";
import { serve } from "./hal.mjs";

const bus = await connect({ servers: process.env.TELLHAL_URL });
await serve(bus, process.env.TELLHAL_BRIDGE_KEY.split(","), "ping", () => "pong");
console.error("serves ping");
