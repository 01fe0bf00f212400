// What each route says to a message.

import { fill, h, plural } from "./dom.js";

function route(said) {
  const marks = { matches: ["✓", "takes it"], refuses: ["✗", "does not take it"], not_asked: ["–", "was not asked"] };
  const [sign, words] = marks[said.verdict];
  const leads = said.drop ? "drops it" : `to ${said.rooms.join(", ")}`;
  return h("li", { class: said.verdict },
    h("strong", {}, `${sign} ${said.name}`), ` ${words}`, said.verdict === "matches" && `: ${leads}`, said.refused && [": ", h("bdi", {}, said.refused)],
    said.verdict === "matches" && h("ul", {},
      said.held.map((held) => h("li", {}, h("bdi", {}, held))),
      said.throttle && h("li", {}, `repeats within ${said.throttle.within} are counted: `, h("bdi", {}, said.throttle.key)),
      said.stop && h("li", {}, "stops here: no later route is asked")));
}

// Those that take it first, the others behind a fold.
export function routes(list, all) {
  const [taking, others] = [all.filter((said) => said.verdict === "matches"), all.filter((said) => said.verdict !== "matches")];
  const fold = h("details", {}, h("summary", {}, `${plural(others.length, "route")} that ${others.length === 1 ? "does" : "do"} not`), h("ol", { class: "routes" }, others.map(route)));
  fold.open = others.length <= 5;
  fill(list, taking.map(route), others.length > 0 && h("li", {}, fold));
}
