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

const TEXTS = { "Copy link": (address) => `${new URL(address, location.origin)}`, "Copy as curl": (address, path) => curl(path) };

// Copies what the name of the button says, and says so on it.
export async function take(button, name, ...of) {
  await copy(TEXTS[name](...of));
  button.textContent = "Copied";
  button.focus();
  setTimeout(() => { button.textContent = name; }, WAIT);
}
