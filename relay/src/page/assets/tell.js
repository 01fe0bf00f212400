// Tells a message, as tellhal on a host would.

import { api, isOperator, trouble } from "./api.js";
import { $, fill, h } from "./dom.js";

const form = $("telling");

// Lines of name=value.
function fields(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`the field ${JSON.stringify(line)} is not name=value`);
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const body = { ...said };
    if (said.fields) body.fields = fields(said.fields);
    if (said.links) body.links = said.links.split("\n").map((url) => ({ url: url.trim() })).filter(({ url }) => url);
    const told = await api("/api/messages", { method: "POST", body });
    fill($("told"), h("p", {}, "Told. ", h("a", { href: `/messages/${told.id}` }, "Where it goes")));
    form.reset();
    form.elements.tag.value = said.tag;
  } catch (error) {
    fill($("told"), trouble(error));
  } finally {
    button.disabled = false;
  }
});
$("not-operator").hidden = isOperator;
// The button is disabled until here: without this script the form would put the text into the address.
for (const element of form.elements) element.disabled = !isOperator;
