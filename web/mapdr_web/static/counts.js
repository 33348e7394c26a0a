// Counts by modality and destination, of days that stand in the address: a link shows the same days.

import { askAlone, h, show } from "./dom.js";
import { count, size } from "./words.js";

const PRESETS = [["today", "Today"], ["yesterday", "Yesterday"], ["month", "This month"], ["last", "Last month"], ["days", "Other days"]];
const FRESH = 5000; // how old the counts of today may be ...
const SLOW = 60000; // ... and those of more days

export function countsCard() {
  const preset = h("select", { "aria-label": "Days that are counted" }, ...PRESETS.map(([value, text]) => h("option", { value }, text)));
  const first = h("input", { type: "date", "aria-label": "First day" }), last = h("input", { type: "date", "aria-label": "Last day" });
  const csv = h("a", { download: true }, "CSV");
  const place = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Counts by destination and modality" });
  const card = h("section", { class: "card wide" },
    h("h2", {}, "Delivered, images / studies", h("span", { class: "aside" }, preset, first, last, csv)), place);
  let day = "", seen = "", readAt = 0, asked = 0, ended = false;

  /** The days of the address; without any of them, or with others than days, those of today. */
  function fromAddress() {
    const given = new URLSearchParams(location.search), range = [given.get("first"), given.get("last")];
    if (!range.every((one) => /^\d{4}-\d\d-\d\d$/.test(one ?? ""))) return choose("today");
    [first.value, last.value] = range;
    preset.value = PRESETS.find(([word]) => word !== "days" && `${days(word, day)}` === `${range}`)?.[0] ?? "days";
  }
  function choose(word) {
    preset.value = word;
    if (word !== "days") [first.value, last.value] = days(word, day);
  }
  function chosen() {
    const today = preset.value === "today";
    history.replaceState(null, "", today ? "/" : `/?first=${first.value}&last=${last.value}`);
    read();
  }
  preset.addEventListener("change", () => { choose(preset.value); chosen(); });
  for (const one of [first, last]) one.addEventListener("change", () => { preset.value = "days"; chosen(); });

  async function read() {
    const given = new URLSearchParams({ first: first.value, last: last.value }), mine = ++asked;
    csv.setAttribute("href", `/api/v1/counts.csv?${given}`);
    readAt = performance.now();
    let drawn;
    try {
      const found = await askAlone(`/counts?${given}`);
      drawn = () => show(place, found, table);
    } catch (error) {
      if (!error.status) { // the banner says that the node is lost; what stands stays
        seen = "";
        return;
      }
      drawn = () => show(place, error.message, (text) => h("p", { role: "alert" }, text));
    }
    if (!ended && mine === asked) drawn();
  }

  return {
    card,
    draw(state) {
      const begins = !day, today = preset.value === "today";
      if (day !== state.day) {
        day = state.day;
        if (begins) fromAddress();
        else if (today) choose("today");
      }
      const now = JSON.stringify([state.day, state.today]);
      const wait = first.value === last.value ? FRESH : SLOW;
      if (begins || (now !== seen && last.value >= day && performance.now() - readAt > wait)) {
        seen = now;
        read();
      }
    },
    end() { ended = true; },
  };
}

/** A study with two modalities is one of each, and one of all: "all" is counted, and not added up. */
function table(found) {
  const modalities = [...new Set([...Object.keys(found.received),
    ...Object.values(found.delivered).flatMap((each) => Object.keys(each))])].sort();
  if (!modalities.length) return h("p", { class: "dim" }, "Nothing was received or delivered in these days.");
  const cell = (one) => (one ? [count(one.images), " ", h("small", {}, `/ ${count(one.studies)}`)] : h("small", {}, "–"));
  const sizes = (one) => (one ? { title: `${size(one.bytes_received)} as received, ${size(one.bytes_sent)} as sent` } : {});
  const row = (name, counts, all, about = {}) => h("tr", about, h("th", { scope: "row" }, name),
    modalities.map((one) => h("td", sizes(about.class ? null : found.volumes[name]?.[one]), cell(counts[one]))),
    h("td", sizes(about.class ? null : found.delivered_bytes[name]), h("b", {}, cell(all))));
  return h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "destination"),
      modalities.map((one) => h("th", { scope: "col" }, one)), h("th", { scope: "col" }, "all"))),
    h("tbody", {}, Object.entries(found.delivered).map(([name, counts]) => row(name, counts, found.delivered_all[name])),
      row("received", found.received, found.received_all, { class: "sum" })));
}

function days(word, today) {
  const [year, month, number] = today.split("-").map(Number);
  const at = (y, m, d) => new Date(Date.UTC(y, m, d)).toISOString().slice(0, 10);
  if (word === "today") return [today, today];
  if (word === "yesterday") return [at(year, month - 1, number - 1), at(year, month - 1, number - 1)];
  if (word === "month") return [at(year, month - 1, 1), today];
  return [at(year, month - 2, 1), at(year, month - 1, 0)];
}
