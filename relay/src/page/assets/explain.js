// The rooms that a message would go to, the reasons, and its text in each room. The message is not sent.

import { api, trouble } from "./api.js";
import { $, fill, h, plural } from "./dom.js";
import { routes } from "./routes.js";

const form = $("thought");
const given = new URLSearchParams(location.search);

function rooms({ rooms: shown, dropped_by, by_default, instead_of }) {
  const notes = [
    ...dropped_by.map((name) => `Route ${name} drops it: this route sends it to no room and counts it.`),
    by_default && "No route takes it, so it goes to the default room.",
    instead_of && `In the environment dev, all messages go to ${instead_of.dev_room}. Otherwise it would go to ${instead_of.rooms.join(", ")}.`,
  ].filter(Boolean);
  return [
    h("h2", {}, shown.length ? `It would go to ${plural(shown.length, "room")}` : "It would go to no room"),
    notes.map((text) => h("p", { class: "note" }, text)),
    shown.map((each) => h("section", { class: "room", "aria-label": `Room ${each.room}` },
      h("h3", {}, h("bdi", {}, each.room), h("small", {}, ` ${each.kind}${each.routes.length ? `, by ${each.routes.join(", ")}` : ""}`)),
      each.shown.map((part) => h("pre", {}, part)))),
  ];
}

async function explain() {
  fill($("explained"), h("p", { class: "note" }, "Loading…"));
  try {
    const query = new URLSearchParams();
    for (const [name, value] of given) {
      const values = name === "field" ? value.split("\n").map((line) => line.trim()) : [value];
      values.filter(Boolean).forEach((each) => query.append(name, each));
    }
    const answer = await api(`/api/explain?${query}`);
    const list = h("ol", { class: "routes" });
    routes(list, answer.routes);
    fill($("explained"), rooms(answer), h("h2", {}, "Routes"), answer.routes.length ? list : h("p", { class: "note" }, "There are no routes."));
  } catch (error) {
    fill($("explained"), trouble(error));
  }
}

for (const element of form.elements) {
  if (element.name && given.has(element.name)) element.value ||= given.getAll(element.name).join("\n");
}
// The address contains only the fields that were filled in.
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  location.assign(`/explain?${query}`);
});
if (given.get("tag")) explain();
