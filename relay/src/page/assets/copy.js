// Takes a view out of the page: its link, or a request for the same as a command.

import { h } from "./dom.js";

const WAIT = 1_500; // ms for which a button says that it has copied

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// A command that asks the API. Without a token only callers on the relay's own machine are answered.
function curl(path) {
  const token = document.body.dataset.needs === "token" ? ' -H "Authorization: Bearer $HAL_TOKEN"' : "";
  return `curl -sS${token} ${quoted(`${new URL(path, location.origin)}`)}`;
}

// Browsers have no clipboard for a page without encryption from another machine, but they can copy what is selected.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function button(name, text) {
  const made = h("button", { type: "button", class: "quiet", onclick: async () => {
    await copy(text());
    made.textContent = "Copied";
    made.focus();
    setTimeout(() => { made.textContent = name; }, WAIT);
  } }, name);
  return made;
}

// Buttons for an address of the page, and for what the API answers to the same.
export function tools(address, path = `/api${address}`) {
  return h("span", { class: "take" }, button("Copy link", () => `${new URL(address, location.origin)}`), button("Copy as curl", () => curl(path)));
}
