// Rules: the way of the images as a picture, each rule in words, and what would happen to a file.

import { askAlone, askFile, h, s, say, show } from "./dom.js";
import { count, many, size, sum } from "./words.js";

const ROW = 56;
const BAR = 280; // where the bar stands from which each image is offered to every rule
const SHOWN = 12; // sources and destinations in the picture

export function rules(main, session) {
  const acts = session.role === "operator";
  const picture = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The way of the images" }, h("p", { class: "dim" }, "…"));
  const list = h("ol", { class: "rows" });
  const told = h("div");
  const file = h("input", { type: "file", id: "try-file" });
  const sender = h("input", { id: "try-sender", autocomplete: "off", maxlength: 16 });
  const button = h("button", { type: "submit", class: "first" }, "Try");
  const trial = h("form", { class: "filter drop", "aria-label": "Try a file", onsubmit: (event) => {
    event.preventDefault();
    if (file.files.length) tryIt(file.files[0]);
    else say("Choose a file first.");
  }, ondragover: (event) => event.preventDefault(), ondrop: (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) tryIt(event.dataTransfer.files[0]);
  } }, h("label", {}, "A DICOM file, chosen or dropped here", file), h("label", {}, "As if this AE title had sent it", sender), button);
  main.replaceChildren(
    h("h1", { class: "title" }, "Rules"),
    h("section", { class: "card" }, h("h2", {}, "The way of the images, today"), picture),
    h("section", { class: "card" }, h("h2", {}, "In words", acts ? h("span", { class: "aside" }, h("a", { href: "/settings" }, "Change them")) : null), list),
    acts ? h("section", { class: "card" }, h("h2", {}, "Try a file"),
      h("p", { class: "dim above" }, "It shows what the rules would do to it; nothing is kept or sent."), trial, told) : null);

  let found = null, around = null, state = null, ended = false;

  async function read() {
    try {
      found = (await askAlone("/rules")).rules;
      around = (await askAlone("/surroundings")).sources;
    } catch (error) {
      if (!ended && found === null) picture.replaceChildren(h("p", { class: "dim", role: "alert" }, error.message));
      return;
    }
    if (ended) return;
    show(list, found, () => (found.length ? found.map((one) => h("li", {}, h("b", {}, one.name), h("br"), one.sentence))
      : h("li", { class: "dim" }, "There is none: images are kept, and go nowhere.")));
    draw();
  }
  const timer = setInterval(read, 5000);

  function draw() {
    if (!found || !around || !state) return;
    const of = (counts) => sum(Object.values(counts ?? {}).map((one) => one.images));
    const sources = around.filter((one) => one.today || one.rate).slice(0, SHOWN).map((one) => ({ name: one.name, images: one.today }));
    const destinations = state.destinations.slice(0, SHOWN).map((one) => ({ name: one.name, images: of(state.today.delivered[one.name]) }));
    const ways = found.map((one) => ({ name: one.name, to: one.send_to }));
    show(picture, [sources, ways, destinations], () => flow(sources, ways, destinations));
  }

  async function tryIt(chosen) {
    button.disabled = true;
    told.replaceChildren(h("p", { class: "dim", role: "status" }, `${chosen.name} is looked at …`));
    try {
      const answer = await askFile(`/try?${new URLSearchParams({ calling_ae: sender.value.trim() })}`, chosen);
      told.replaceChildren(...explained(chosen.name, answer));
      told.querySelector("h3").focus();
    } catch (error) {
      told.replaceChildren(h("p", { class: "bad", role: "alert" }, `▲ ${chosen.name}: ${error.message}`));
    } finally {
      button.disabled = false;
    }
  }

  read();
  return { title: "Rules", draw(now) {
    state = now;
    draw();
  }, end() {
    ended = true;
    clearInterval(timer);
  } };
}

/** Sources, rules and destinations in three columns, with the images of today on the lines. */
function flow(sources, ways, destinations) {
  const height = Math.max(sources.length, ways.length, destinations.length, 1) * ROW + 24;
  const at = (index, number) => (height / (number + 1)) * (index + 1);
  const lines = [], boxes = [], labels = [];
  sources.forEach((one, index) => {
    const y = at(index, sources.length);
    lines.push(curve(210, y, BAR, y, one.images));
    boxes.push(box(10, y, 200, one.name));
    labels.push(label(216, y - 8, count(one.images), "start"));
  });
  ways.forEach((one, index) => {
    const y = at(index, ways.length);
    lines.push(curve(BAR, y, 350, y, 0));
    for (const name of one.to) {
      const place = destinations.findIndex((each) => each.name === name);
      if (place >= 0) lines.push(curve(610, y, 750, at(place, destinations.length), destinations[place].images));
    }
    boxes.push(box(350, y, 260, one.name));
  });
  destinations.forEach((one, index) => {
    const y = at(index, destinations.length);
    boxes.push(box(750, y, 200, one.name));
    labels.push(label(744, y - 8, count(one.images), "end"));
  });
  const ends = [0, sources.length - 1].map((one) => at(one, sources.length)).concat([0, ways.length - 1].map((one) => at(one, ways.length))).filter(Number.isFinite);
  const top = Math.min(...ends) - 8;
  boxes.push(s("rect", { class: "bar", x: BAR - 4, y: top.toFixed(1), width: 8, height: (Math.max(...ends) + 8 - top).toFixed(1), rx: 4 }));
  const words = [
    sources.length ? `From ${sources.map((one) => `${one.name} ${count(one.images)}`).join(", ")}` : "Nothing has come today",
    "Each image is offered to every rule",
    ...ways.map((one) => `${one.name} sends to ${one.to.length ? one.to.join(" and ") : "nobody"}`),
    `Delivered today: ${destinations.map((one) => `${one.name} ${count(one.images)}`).join(", ") || "nothing"}`,
  ].join(". ");
  return s("svg", { class: "flow", viewBox: `0 0 960 ${height}`, width: 960, height, role: "img", "aria-label": words }, ...lines, ...boxes, ...labels);
}
const curve = (x1, y1, x2, y2, images) => s("path", { class: images ? "way is-used" : "way",
  d: `M${x1} ${y1.toFixed(1)}C${x1 + 70} ${y1.toFixed(1)} ${x2 - 70} ${y2.toFixed(1)} ${x2} ${y2.toFixed(1)}` });
const label = (x, y, text, anchor) => {
  const made = s("text", { x, y: y.toFixed(1), "text-anchor": anchor, class: "number" });
  made.textContent = text;
  return made;
};
function box(x, y, width, name) {
  const text = s("text", { x: x + width / 2, y: (y + 5).toFixed(1), "text-anchor": "middle" });
  const most = Math.floor(width / 8);
  text.textContent = name.length > most ? `${name.slice(0, most - 1)}…` : name;
  return s("g", {}, s("rect", { x, y: (y - 20).toFixed(1), width, height: 40, rx: 8 }), text);
}

function explained(name, answer) {
  return [
    h("h3", { tabindex: "-1", class: "below" }, name),
    h("p", { class: "dim" }, `${answer.sop_class} · ${answer.transfer_syntax} · ${size(answer.bytes)}`),
    h("ul", { class: "rows below" }, answer.rules.map((one) => h("li", {},
      h("span", { class: `state ${one.matched ? "good" : "dim"}` }, h("span", { "aria-hidden": "true" }, one.matched ? "●" : "○"),
        one.matched ? "takes it" : one.reached ? "does not" : "is not asked"),
      h("span", { class: "name" }, one.name),
      h("span", { class: "note" }, one.matched ? one.because.join("; ") : one.failure)))),
    answer.deliveries.length ? null : h("p", { class: "below" }, h("b", { class: "warn" }, "▲ Attention: "), "no destination gets it."),
    ...answer.deliveries.map(delivery),
  ].filter(Boolean);
}

function delivery(one) {
  if (one.error) return h("p", { class: "below" }, h("b", { class: "bad" }, "▲ Problem: "), `for ${one.destination} it would be parked: ${one.error}`);
  const parts = [`by the rule ${one.rule}`, one.treatment, one.transfer_syntax, size(one.bytes), one.priority === "routine" ? "" : one.priority, one.note,
    one.quality ? `no pixel off by more than ${one.quality.max_error}` : ""];
  const title = `What ${one.destination} would get`;
  return h("section", { class: "below", "aria-label": title }, h("h3", {}, title),
    h("p", { class: "dim" }, parts.filter(Boolean).join(" · ")), one.unshown ? h("p", {}, one.unshown) : changed(one.changes, title));
}

/** Elements before and after, as `operate.differences` tells them. */
export function changed(changes, title) {
  if (!changes.length) return h("p", {}, "No element changes.");
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}: ${many(changes.length, "element")}` },
    h("table", { class: "text" }, h("thead", {}, h("tr", {}, ["element", "before", "after", ...(changes[0].by ? ["by"] : [])].map((word) => h("th", { scope: "col" }, word)))),
      h("tbody", {}, changes.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name || one.tag),
        h("td", {}, value(one.before)), h("td", {}, value(one.after)), one.by ? h("td", {}, one.by.join("; ")) : null)))));
}
const value = (text) => text || h("small", {}, "–");
