// The state of everything, in the header of every view: what is wrong, each with a link to where it is shown.

import { api, poll, words } from "./api.js";
import { $, ago, fill, h, plural } from "./dom.js";
import { ZONE } from "./time.js";

const EVERY = 2_000; // ms

const minutes = (at) => plural(Math.max(1, Math.floor((Date.now() - Date.parse(at)) / 60_000)), "minute");
const named = (rooms) => rooms.map(({ room }) => room).join(", ");

// The problems, the worst first: the address of each one's page, and its words.
function wrongs({ problem, config_error, failing, waiting, dead }) {
  const late = waiting.reduce((sum, { pending }) => sum + pending, 0);
  const oldest = waiting.map((each) => each.oldest).sort()[0];
  return [
    problem && ["/rooms", `the relay is not ready: ${problem}`],
    failing.length > 0 && ["/rooms", `${plural(failing.length, "room")} ${failing.length === 1 ? "fails" : "fail"}: ${named(failing)}`],
    late > 0 && ["/rooms", `${plural(late, "delivery waits", "deliveries wait")} for ${minutes(oldest)}: ${named(waiting)}`],
    config_error && ["/rooms#wrong", "the changed configuration is refused"],
    dead > 0 && ["/rooms#dead", plural(dead, "dead letter")],
    dead === null && ["/rooms#dead", "the number of dead letters is not known"],
  ].filter(Boolean);
}

function show(now) {
  const list = wrongs(now);
  document.querySelector("header").dataset.health = now.well ? "well" : "wrong";
  fill($("health"), now.well
    ? h("a", { href: "/rooms" }, "all is well")
    : list.map(([href, text]) => h("a", { class: "part", href }, text)));
  fill($("last"), now.last
    ? h("a", { href: `/messages/seq-${now.last.sequence}` }, "last message ", ago(now.last.at))
    : "the log is empty");
}

fill($("zone"), `times in ${ZONE}`);
poll(() => api("/api/status"), show, (error) => {
  document.querySelector("header").dataset.health = "wrong";
  fill($("health"), h("a", { class: "part", href: "" }, error.message), words(error).slice(1));
}, EVERY);
