// The rest of the story of a message that says that something failed or started.

import { h, messageAddress, time } from "./dom.js";

// True if a message with the status `later` ends what one with the status `earlier` began
// (relay/src/index/problems.rs has the same rule).
export function ends(earlier, later) {
  if (earlier === "failed") return later === "succeeded" || later === "resolved";
  return earlier === "started" && Boolean(later);
}

const ENDINGS = { succeeded: "succeeded", resolved: "resolved", failed: "failed", started: "no end was told, started again" };

// The end of the story in words with a link; null if it is not known or not over.
export function chip({ message, over, due }) {
  if (over) {
    const good = over.status === "succeeded" || over.status === "resolved";
    return h("span", { class: `story ${good ? "well" : "bad"}` }, `${good ? "✓ " : ""}${ENDINGS[over.status]} `, time(over.at));
  }
  if (message.status === "started" && due && Date.parse(due) < Date.now()) return h("span", { class: "story bad" }, "no end was told");
  return null;
}

// The same for the page of a message.
export function story(entry) {
  const { message, over, due } = entry;
  const shown = chip(entry);
  if (over) return h("a", { href: messageAddress({ id: `seq-${over.sequence}` }) }, shown);
  if (shown) return [shown, " ", h("span", { class: "note" }, "expected by ", time(due))];
  const open = message.key && { failed: "not over yet", started: "under way" }[message.status];
  return open && h("a", { href: "/problems" }, open);
}
