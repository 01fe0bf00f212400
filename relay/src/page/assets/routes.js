// The verdicts of all routes on a message.

import { fill, h, plural } from "./dom.js";

function item(route) {
  const marks = { matches: ["✓", "takes it"], refuses: ["✗", "does not take it"], not_asked: ["–", "is skipped"] };
  const [sign, words] = marks[route.verdict];
  const leads = route.drop ? "drops it" : `to ${route.rooms.join(", ")}`;
  return h("li", { class: route.verdict },
    h("strong", {}, `${sign} ${route.name}`), ` ${words}`, route.verdict === "matches" && `: ${leads}`, route.refused && [": ", h("bdi", {}, route.refused)],
    route.verdict === "matches" && h("ul", {},
      route.held.map((held) => h("li", {}, h("bdi", {}, held))),
      route.throttle && h("li", {}, `repeats within ${route.throttle.within} are counted: `, h("bdi", {}, route.throttle.key)),
      route.stop && h("li", {}, "stops here: later routes are skipped")));
}

// The routes that take the message come first, the others are in a fold.
export function routes(list, all) {
  const [taking, others] = [all.filter(({ verdict }) => verdict === "matches"), all.filter(({ verdict }) => verdict !== "matches")];
  const fold = h("details", {}, h("summary", {}, `${plural(others.length, "route")} that ${others.length === 1 ? "does" : "do"} not take it`), h("ol", { class: "routes" }, others.map(item)));
  fold.open = others.length <= 5;
  fill(list, taking.map(item), others.length > 0 && h("li", {}, fold));
}
