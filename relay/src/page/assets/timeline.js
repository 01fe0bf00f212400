// The chart of messages over time, by severity. Dragging over it chooses a time range; without a pointer, the fields of
// the filter do the same.

import { h, missing, plural, time } from "./dom.js";
import { moment } from "./time.js";

const [WIDTH, HEIGHT] = [1000, 56];
const LEAST = 2; // px: one bad message must be visible among thousands of others
const SVG = "http://www.w3.org/2000/svg";
let from = null; // start of a range that is being dragged, from 0 to 1
let later = null; // shows the next chart, after the range was dragged

function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function inWords(severities, counts) {
  const named = counts.map((number, i) => [number, severities[i]]).filter(([number]) => number > 0).reverse();
  return named.map(([number, severity]) => `${number} ${severity}`).join(", ") || "no message";
}

// Replaces the chart, but not while a range is being dragged on it.
export function show(place, ...what) {
  later = () => place.replaceChildren(...what);
  if (from === null) later();
}

// Draws the chart into `place`, and calls `choose(since, until)` when a range was dragged.
export function draw(place, { since, until, severities, counts, incomplete }, choose) {
  const [begin, end] = [Date.parse(since), Date.parse(until)];
  const at = (i) => new Date(begin + ((end - begin) * i) / counts.length).toISOString();
  const sums = counts.map((span) => span.reduce((a, b) => a + b, 0));
  const most = Math.max(1, ...sums);
  const step = WIDTH / counts.length;
  const bars = counts.map((span, i) => {
    const bar = shape("g", {}, shape("title"), shape("rect", { x: i * step, y: 0, width: step, height: HEIGHT, class: "span" }));
    bar.firstChild.textContent = `${moment(at(i))} – ${moment(at(i + 1))}: ${inWords(severities, span)}`;
    let y = HEIGHT;
    // The worst severity is at the bottom, where all bars begin.
    for (let s = severities.length - 1; s >= 0; s--) {
      if (!span[s]) continue;
      const height = Math.max(LEAST, (span[s] / most) * (HEIGHT - LEAST));
      y -= height;
      bar.append(shape("rect", { x: i * step + 0.5, y: Math.max(0, y), width: Math.max(1, step - 1), height, class: severities[s] }));
    }
    return bar;
  });
  const picked = shape("rect", { y: 0, height: HEIGHT, width: 0, class: "picked" });
  const total = sums.reduce((a, b) => a + b, 0);
  const bySeverity = severities.map((_, s) => counts.reduce((sum, span) => sum + span[s], 0));
  const lacks = incomplete ? `; ${missing(incomplete)}` : "";
  const about = `${plural(total, "message")} from ${moment(since)} to ${moment(until)}: ${inWords(severities, bySeverity)}${lacks}`;
  const chart = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": about }, ...bars, picked);

  const where = (event) => {
    const box = chart.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  const range = (to) => [Math.min(from, to), Math.max(from, to)];
  chart.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = where(event);
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const [a, b] = range(where(event));
    picked.setAttribute("x", a * WIDTH);
    picked.setAttribute("width", (b - a) * WIDTH);
  });
  chart.addEventListener("pointercancel", () => {
    from = null;
    picked.setAttribute("width", 0);
    later();
  });
  chart.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [a, b] = range(where(event));
    from = null;
    // A click chooses the span under it.
    const click = (b - a) * chart.getBoundingClientRect().width < 4;
    const [first, last] = click ? [Math.floor(a * counts.length), Math.floor(a * counts.length) + 1] : [a * counts.length, b * counts.length];
    later();
    choose(at(Math.max(0, first)), at(Math.min(counts.length, last)));
  });
  const highest = Math.max(0, ...sums);
  const peak = highest || lacks ? `highest bar: ${plural(highest, "message")}${lacks}` : "no messages";
  show(place, chart, h("p", {}, time(since), h("span", {}, peak), time(until)));
}
