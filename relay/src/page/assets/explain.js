// Where a message would go, why, and what each room would show. Nothing is sent.

import { api, trouble } from "./api.js";
import { $, fill, h, plural } from "./dom.js";
import { routes } from "./routes.js";

const form = $("thought");
const given = new URLSearchParams(location.search);

function rooms({ rooms: shown, dropped_by, by_default, instead_of }) {
  const notes = [
    ...dropped_by.map((name) => `Route ${name} drops it: on its account it goes nowhere, and is counted.`),
    by_default && "No route takes it, so it goes to the default room.",
    instead_of && `This is dev: everything goes to ${instead_of.dev_room}, else it would go to ${instead_of.rooms.join(", ")}.`,
  ].filter(Boolean);
  return [
    h("h2", {}, shown.length ? `It would be read in ${plural(shown.length, "room")}` : "It would be read nowhere"),
    notes.map((text) => h("p", { class: "note" }, text)),
    shown.map((each) => h("section", { class: "room", "aria-label": `Room ${each.room}` },
      h("h3", {}, h("bdi", {}, each.room), h("small", {}, ` ${each.kind}${each.routes.length ? `, by ${each.routes.join(", ")}` : ""}`)),
      each.shown.map((part) => h("pre", {}, part)))),
  ];
}

async function explain() {
  fill($("explained"), h("p", { class: "note" }, "Asking…"));
  try {
    const asked = new URLSearchParams();
    for (const [name, value] of given) {
      const values = name === "field" ? value.split("\n").map((line) => line.trim()) : [value];
      values.filter(Boolean).forEach((each) => asked.append(name, each));
    }
    const found = await api(`/api/explain?${asked}`);
    const list = h("ol", { class: "routes" });
    routes(list, found.routes);
    fill($("explained"), rooms(found), h("h2", {}, "Why"), found.routes.length ? list : h("p", { class: "note" }, "There are no routes."));
  } catch (error) {
    fill($("explained"), trouble(error));
  }
}

for (const element of form.elements) {
  if (element.name && given.has(element.name)) element.value ||= given.getAll(element.name).join("\n");
}
// An address that says only what was filled in.
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const said = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  location.assign(`/explain?${said}`);
});
if (given.get("tag")) explain();
