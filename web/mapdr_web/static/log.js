// Log: what happened, as it happens, the newest first; narrowed by level and words.

import { h, keep } from "./dom.js";
import { LEVELS, clock, count, day } from "./words.js";

const HELD = 1000; // events that the page remembers
const events = []; // the newest first; they stay while other views are open
const known = new Set();

/** Takes what is new of the node's events; called with every state, whatever view is shown. */
export function remember(told) {
  for (const one of told) {
    const key = JSON.stringify([one.at, one.kind, one.text]);
    if (known.has(key)) continue;
    known.add(key);
    events.unshift({ ...one, key });
  }
  while (events.length > HELD) known.delete(events.pop().key);
}

/** Forgets it all: somebody else may sign in. */
export function forget() {
  events.length = 0;
  known.clear();
}

export function log(main) {
  const level = h("select", { onchange: () => draw() }, ...[["", "All"], ["warn", "Attention and problems"], ["bad", "Problems"]]
    .map(([value, text]) => h("option", { value }, text)));
  const words = h("input", { type: "search", autocomplete: "off", oninput: () => draw() });
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    held = held ? null : [...events];
    pause.setAttribute("aria-pressed", held ? "true" : "false");
    draw();
  } }, "Pause");
  const told = h("p", { class: "dim above", role: "status" });
  const list = h("ul", { class: "rows" });
  main.replaceChildren(
    h("h1", { class: "title" }, "Log"),
    h("section", { class: "card" },
      h("div", { class: "filter" }, h("label", {}, "What", level), h("label", {}, "With the words", words), pause)),
    h("section", { class: "card" }, told, list));
  let held = null, now = null;

  function draw() {
    const from = held ?? events;
    const text = words.value.trim().toLowerCase();
    const levels = { "": null, warn: ["warn", "bad"], bad: ["bad"] }[level.value];
    const rows = from.filter((one) => (!levels || levels.includes(one.level))
      && (!text || `${one.kind} ${one.text}`.toLowerCase().includes(text)));
    told.textContent = `${count(rows.length)} of ${count(from.length)} events since this page was opened${held ? ", paused" : ""}`;
    keep(list, rows.map((one) => [one.key, one, () => line(one)]));
  }

  function line(one) {
    const [shape, word] = LEVELS[one.level] ?? ["", ""];
    const at = one.at ? (now && day(one.at) !== day(now) ? `${day(one.at)} ${clock(one.at)}` : clock(one.at)) : "–";
    return { node: h("li", {}, h("time", {}, at), h("span", { class: `text ${one.level}` },
      shape && one.level !== "good" ? h("span", {}, h("span", { "aria-hidden": "true" }, `${shape} `), h("span", { class: "skip" }, `${word}: `)) : "",
      one.text), h("span", { class: "aside" }, one.kind)), update() {} };
  }

  return {
    title: "Log",
    draw(state) {
      now = state.at;
      draw();
    },
    end() {},
  };
}
