// Answers a chat command of hal-bridge: a NATS service that takes only the requests that the bridge has signed.
// Needs @nats-io/services. Decides nothing about rights: the bridge does, before it asks.
// handler.mjs shows its use.
import { createPublicKey, verify } from "node:crypto";
import { hostname } from "node:os";
import { Svcm } from "@nats-io/services";

// The time after which the bridge's request is not begun any more; its clock may differ by as much.
const FRESH = 60_000;

// Thrown by a command: it ends with a failed answer, the text of the error.
export class Failed extends Error {}

// The reason why a request is not handled.
class Refused extends Error {}

// The text of an ops message: our messages are JSON objects with a version, everything else is plain text.
export function contents(text) {
  try {
    const message = JSON.parse(text);
    if (message?.v !== undefined) return message.text || message.title || "";
  } catch {
    // Plain text.
  }
  return text;
}

// Takes a request if one of the bridge's keys has signed it for this subject, it is fresh, and its id is new.
export class Gate {
  #keys;
  #taken = new Map();

  constructor(bridgeKeys) {
    this.#keys = new Map(bridgeKeys.map((key) => [key, publicKey(key)]));
  }

  take({ subject, headers, data }) {
    const key = this.#keys.get(headers?.get("Hal-Key"));
    if (!key) throw new Refused("it is not signed, or with another key");
    if (!isSigned(key, data, headers.get("Hal-Signature"))) throw new Refused("its signature is wrong");
    const request = JSON.parse(new TextDecoder().decode(data));
    if (request.v !== 1) throw new Refused(`version ${request.v} of requests is not known here`);
    if (request.subject !== subject) throw new Refused(`it was signed for ${request.subject}`);
    const [now, expires] = [Date.now(), Date.parse(request.expires)];
    if (!(now <= expires && expires <= now + 2 * FRESH)) {
      throw new Refused(`it expires at ${request.expires}, and the time here is ${new Date(now).toISOString()}`);
    }
    // An older one is refused for its age.
    for (const [id, until] of this.#taken) if (until < now) this.#taken.delete(id);
    if (this.#taken.has(request.id)) throw new Refused("it came before");
    this.#taken.set(request.id, expires);
    return request;
  }
}

function isSigned(key, data, signature) {
  return verify(null, data, key, Buffer.from(signature ?? "", "base64"));
}

// A public nkey in base32 is a byte for its type, the 32 bytes of the Ed25519 key, and two of a checksum. Node's own crypto
// verifies a hundred times faster than @nats-io/nkeys, which is JavaScript.
function publicKey(nkey) {
  const bits = [...nkey].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  const x = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2))).subarray(1, 33).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
}

// The answer to a request that was refused or has failed.
function sentence(error, name, host) {
  if (error instanceof Refused) return `the handler on ${host} refuses the request: ${error.message}`;
  if (error instanceof Failed) return error.message;
  console.error(error);
  return `${name} failed; the log of its handler says why`;
}

// Serves the command `name`: `answer(request, progress)` returns the answer's text or throws `Failed`. Requests are handled at once.
export async function serve(bus, bridgeKeys, name, answer, { usage = name, about = "", prefix = "hal" } = {}) {
  const [gate, host] = [new Gate(bridgeKeys), hostname()];
  const handler = async (error, message) => {
    if (error) return;
    const reply = (body) => message.respond(JSON.stringify({ v: 1, host, ...body }));
    try {
      const request = gate.take(message);
      if (request.cancel) return; // It would end an earlier request, which this example cannot.
      reply({ answer: await answer(request, (progress) => message.respond(JSON.stringify({ v: 1, progress }))) });
    } catch (error) {
      reply({ answer: sentence(error, name, host), failed: true });
    }
  };
  const service = await new Svcm(bus).add({ name: "commands", version: "1.0.0", metadata: { host } });
  const metadata = { usage, help: about };
  service.addEndpoint(name, { subject: `${prefix}.cmd.${name}`, handler, metadata });
  // For `NAME --each`, which asks every instance: a queue group that no other instance is in.
  const queue = service.info().id;
  service.addEndpoint(`${name}_each`, { subject: `${prefix}.cmd._each.${name}`, handler, metadata, queue });
  await bus.flush();
  return service;
}
