// Sends a message, as tellhal on a host does.

import { api, isOperator, trouble } from "./api.js";
import { $, fill, h } from "./dom.js";

const form = $("telling");
let sending = null; // contents and id of a message that is not acknowledged yet: sent again, it is the same message

// 128 random bits.
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Lines of name=value.
function fields(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`the field ${JSON.stringify(line)} does not have the form name=value`);
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const values = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const body = { ...values };
    if (values.fields) body.fields = fields(values.fields);
    if (values.links) body.links = values.links.split("\n").map((url) => ({ url: url.trim() })).filter(({ url }) => url);
    const contents = JSON.stringify(body);
    if (sending?.contents !== contents) sending = { contents, id: newId() };
    const sent = await api("/api/messages", { method: "POST", body: { id: sending.id, ...body } });
    sending = null;
    fill($("told"), h("p", {}, "Sent. ", h("a", { href: `/messages/${sent.id}` }, "Show the message")));
    form.reset();
    form.elements.tag.value = values.tag;
  } catch (error) {
    // Without an answer that refuses it, the message may be on its way.
    const unsure = sending && (!error.status || error.status >= 500);
    fill($("told"), trouble(error), unsure && h("p", {}, "It may still arrive. “Tell” sends the same message again, and the log takes it once."));
  } finally {
    button.disabled = false;
  }
});
$("not-operator").hidden = isOperator;
// The button is disabled in the HTML: without this script the form would put the text into the address.
for (const element of form.elements) element.disabled = !isOperator;
