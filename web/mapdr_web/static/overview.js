// Overview: what needs a person, today in four figures, counts by modality and destination, who sends, who takes.

import { countsCard } from "./counts.js";
import { askAlone, h, keep, s, show } from "./dom.js";
import { bars } from "./plots.js";
import { LEVELS, ago, clock, count, duration, many, rate, stateOf, sum } from "./words.js";

const SHOWN_ALERTS = 3;
const SHOWN_EVENTS = 12;
const SOURCES_EVERY = 5000;
const HISTORY_EVERY = 60000;
const HISTORY_DAYS = 30;
const POINTS = 300;
const SHAPES = { good: ["●", "well"], warn: ["◐", "attention"], bad: ["▲", "problem"] };

export function overview(main) {
  const place = (name, tag = "section", about = {}) => h(tag, { class: name, ...about });
  const alerts = place("alerts", "div", { "aria-label": "What needs attention", role: "group" });
  const figures = ["Received today", "Delivered today", "Waiting", "Stuck"].map((title) => {
    const body = h("div");
    return { body, card: h("section", { class: "card quarter" }, h("h2", {}, title), body) };
  });
  const matrix = countsCard();
  const sources = h("ul", { class: "rows" });
  const conditions = h("ul", { class: "rows" });
  const receivers = h("p", { class: "dim after" });
  const plot = h("div");
  const byHour = h("div"), byDay = h("div");
  const destinations = h("ul", { class: "rows" });
  const events = h("ul", { class: "rows" });
  main.replaceChildren(
    h("h1", { class: "skip" }, "Overview"),
    alerts,
    ...figures.map((each) => each.card),
    matrix.card,
    h("section", { class: "card narrow" }, h("h2", {}, "Sources"), sources, receivers),
    h("section", { class: "card wide" },
      h("h2", {}, "Images a second", h("span", { class: "aside" },
        h("span", { class: "key" }, "received"), h("span", { class: "key two" }, "delivered"))), plot),
    h("section", { class: "card narrow" }, h("h2", {}, "Destinations"), destinations),
    h("section", { class: "card" }, h("h2", {}, "Disk, index, certificates"), conditions),
    h("section", { class: "card half" }, h("h2", {}, "Images of today, by the hour"), byHour),
    h("section", { class: "card half" }, h("h2", {}, `Images of ${HISTORY_DAYS} days`), byDay),
    h("section", { class: "card" }, h("h2", {}, "What happened"), events),
  );

  let state = null, known = null, stands = [], ended = false;
  const points = [];

  async function readSources() {
    try {
      ({ sources: known, conditions: stands } = await askAlone("/surroundings"));
    } catch {
      return; // the banner says if the node is lost
    }
    if (!ended && state) drawSources();
  }
  function drawSources() {
    show(conditions, stands, (found) => found.map((one) => h("li", {},
      h("span", { class: `state ${one.level}` }, h("span", { "aria-hidden": "true" }, SHAPES[one.level][0]), SHAPES[one.level][1]),
      h("span", { class: "name" }, one.name), h("span", { class: "note" }, one.text))));
    const rows = known.slice(0, 8).map((one) => ({
      name: one.name, today: one.today, silent: one.silent, speed: one.rate ? `${rate(one.rate)}/s` : "",
      last: one.last_at ? ago(one.last_at, state.at) : "never",
    }));
    show(sources, rows, () => (rows.length ? rows.map((row) => h("li", {},
      h("span", { class: row.silent ? "name bad" : "name" }, row.silent ? `▲ ${row.name} is silent` : row.name),
      h("span", { class: "aside" }, [`${many(row.today, "image")} today`, row.speed, row.last].filter(Boolean).join(" · "))))
      : h("li", { class: "dim" }, "nobody has sent anything lately")));
  }
  async function readHistory() {
    const today = state.day;
    const first = new Date(Date.parse(`${today}T00:00:00Z`) - (HISTORY_DAYS - 1) * 86400000).toISOString().slice(0, 10);
    try {
      const hours = await askAlone(`/hours?first=${today}&last=${today}`);
      const days = await askAlone(`/days?first=${first}&last=${today}`);
      if (ended) return;
      show(byHour, hours.received, (found) => bars(found.map((_, hour) => `${hour}:00`), found, "images", "an hour"));
      show(byDay, days.received, (found) => bars(days.days, found.map((one) => one.images), "images", "a day"));
    } catch {
      // the banner says if the node is lost
    }
  }
  const timer = setInterval(readSources, SOURCES_EVERY);
  const slow = setInterval(() => { if (state) readHistory(); }, HISTORY_EVERY);

  return {
    title: "Overview",
    draw(told) {
      const first = state === null;
      state = told;
      if (told.rates.received !== null) points.push([told.rates.received, told.rates.delivered ?? 0]);
      if (points.length > POINTS) points.shift();
      drawAlerts(alerts, told.attention);
      drawFigures(figures.map((each) => each.body), told);
      matrix.draw(told);
      drawPlot(plot, points);
      drawDestinations(destinations, told.destinations);
      drawEvents(events, told.events);
      const open = told.node.receivers;
      show(receivers, open, () => open.map((one) => `${one.name} (${one.ae_title}, ${one.address}): ${
        one.associations === null ? "not running" : many(one.associations, "open connection")}`).join(" · "));
      if (first) {
        readSources();
        readHistory();
      } else if (known) drawSources();
    },
    end() {
      ended = true;
      matrix.end();
      clearInterval(timer);
      clearInterval(slow);
    },
  };
}

function drawAlerts(place, attention) {
  const rest = attention.slice(SHOWN_ALERTS);
  const wanted = attention.slice(0, SHOWN_ALERTS).map((one, index) => [`${index} ${one.kind}`, one, () => alert(one.kind)]);
  if (rest.length) wanted.push(["rest", rest, more]);
  keep(place, wanted);
}

function sentence(one) {
  const [shape, word] = LEVELS[one.level] ?? LEVELS.warn;
  return [h("b", { class: one.level }, `${shape} ${word}:`), " ", one.text];
}

const CURES = ["/stuck", "Show, and what cures it"];
const LEADS = { parked: CURES, held: CURES, unrouted: CURES, license: ["/settings", "Show the license"] };

function alert(kind) {
  const [href, does] = LEADS[kind] ?? [];
  const text = h("p");
  const node = h("section", { class: "card alert" }, text,
    href ? h("a", { class: "button", href }, does) : null);
  return { node, update(one) {
    node.classList.toggle("is-bad", one.level === "bad");
    show(text, one, sentence);
  } };
}

function more() {
  const summary = h("summary"), list = h("ul", { class: "rows" });
  return { node: h("details", { class: "card alert" }, summary, list), update(rest) {
    summary.textContent = `${many(rest.length, "more thing")} to look at`;
    show(list, rest, () => rest.map((one) => h("li", {}, sentence(one))));
  } };
}

function drawFigures(places, state) {
  const images = (counts) => sum(Object.values(counts).map((each) => each.images));
  const studies = (counts) => sum(Object.values(counts).map((each) => each.studies));
  const now = (value) => (rate(value) === null ? null : `${rate(value)}/s now`);
  const joined = (...parts) => parts.filter(Boolean).join(" · ");
  const figure = (place, number, under, level = "") => show(place, [number, under, level], () => [
    h("strong", { class: `figure ${level}` }, count(number)), h("span", { class: "under" }, under)]);
  const delivered = Object.values(state.today.delivered);
  figure(places[0], images(state.today.received),
    joined(many(studies(state.today.received), "study", "studies"), now(state.rates.received)));
  figure(places[1], sum(delivered.map(images)),
    joined(delivered.length === 1 ? many(studies(delivered[0]), "study", "studies")
      : `to ${many(delivered.length, "destination")}`, now(state.rates.delivered)));
  const oldest = Math.max(0, ...state.destinations.map((one) => one.oldest_seconds ?? 0));
  figure(places[2], state.pending, state.pending ? `oldest ${duration(oldest)}` : "nothing is owed");
  const held = sum(state.destinations.map((one) => one.held));
  const stuck = state.parked + held + state.unrouted;
  figure(places[3], stuck, `${count(state.parked)} parked · ${count(held)} held · ${count(state.unrouted)} unrouted`,
    stuck ? "warn" : "");
}

function drawPlot(place, points) {
  const top = Math.max(1, ...points.flat());
  const x = (index) => 720 - (points.length - 1 - index) * (720 / (POINTS - 1));
  const y = (value) => 146 - (value / top) * 138;
  const line = (which) => points.map((point, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(point[which]).toFixed(1)}`).join("");
  const now = points[points.length - 1] ?? [0, 0];
  show(place, points, () => [
    s("svg", { class: "plot", viewBox: "0 0 720 150", preserveAspectRatio: "none", role: "img",
      "aria-label": `Images a second: ${rate(now[0])} received and ${rate(now[1])} delivered now, at most ${rate(top)}` },
    s("path", { class: "grid", d: "M0 8H720M0 77H720M0 146H720" }),
    s("path", { class: "area", d: points.length ? `${line(0)}V146H${x(0).toFixed(1)}Z` : "" }),
    s("path", { class: "line", d: line(0) }), s("path", { class: "second", d: line(1) })),
    h("div", { class: "axis" }, h("span", {}, "5 min ago"), h("span", {}, `highest ${rate(top)}/s`), h("span", {}, "now")),
  ]);
}

function drawDestinations(place, destinations) {
  const rows = destinations.map((one) => {
    const { shape, level, word } = stateOf(one.reason === "window" ? "window" : one.state);
    const speed = one.rate ? `${rate(one.rate)}/s` : "";
    const wait = one.queue ? `${count(one.queue)} wait` : "";
    return { name: one.name, shape, level, word, comment: one.fault || one.comment, speed, wait,
      parked: one.parked ? `${count(one.parked)} parked` : "", saved: one.saved ? `${Math.round(one.saved * 100)} % saved today` : "" };
  });
  show(place, rows, () => (rows.length ? rows.map((row) => h("li", {},
    h("span", { class: `state ${row.level}` }, h("span", { "aria-hidden": "true" }, row.shape), row.word),
    h("span", { class: "name" }, row.name),
    h("span", { class: "aside" }, [row.wait, row.parked, row.saved, row.speed].filter(Boolean).join(" · ")),
    row.comment ? h("span", { class: "note" }, row.comment) : null))
    : h("li", { class: "dim" }, "there is none; images stay here")));
}

function drawEvents(place, events) {
  const rows = events.slice(-SHOWN_EVENTS).reverse();
  show(place, rows, () => (rows.length ? rows.map((one) => {
    const [shape] = LEVELS[one.level] ?? ["", ""];
    return h("li", {}, h("time", {}, clock(one.at)),
      h("span", { class: `text ${one.level}` }, one.level === "bad" || one.level === "warn" ? `${shape} ` : "", one.text));
  }) : h("li", { class: "dim" }, "nothing yet")));
}
