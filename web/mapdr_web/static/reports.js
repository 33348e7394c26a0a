// Reports: what came and what each destination was sent in a month, as it goes with an invoice.

import { h, query } from "./dom.js";
import { bars } from "./plots.js";
import { count, duration, many, size } from "./words.js";

const MONTHS = 24;

export function reports(main) {
  const asked = new URLSearchParams(location.search).get("month");
  const month = h("select", { "aria-label": "Month", onchange: () => read(month.value) });
  const page = h("a", {}, "As a page"), csv = h("a", { download: true }, "CSV");
  const body = h("div", { class: "alerts" }, h("p", { class: "quiet" }, "…"));
  main.replaceChildren(
    h("h1", { class: "title" }, "Reports"),
    h("section", { class: "card" }, h("p", { class: "filter" }, h("label", {}, "Month", month), page, csv)),
    body);
  let today = null, ended = false, wanted = "";

  async function read(chosen) {
    wanted = chosen;
    page.setAttribute("href", `/api/v1/report.html?month=${chosen}`);
    csv.setAttribute("href", `/api/v1/report.csv?month=${chosen}`);
    history.replaceState(null, "", `/reports?month=${chosen}`);
    let told;
    try {
      told = await query("/report", { month: chosen });
    } catch (error) {
      if (!ended && wanted === chosen) body.replaceChildren(h("p", { class: "quiet", role: "alert" }, error.message));
      return;
    }
    if (!ended && wanted === chosen) body.replaceChildren(...drawn(told));
  }

  return {
    title: "Reports",
    draw(state) {
      if (today) return;
      today = state.day;
      const months = before(today.slice(0, 7), MONTHS);
      const chosen = months.includes(asked) ? asked : months[0];
      month.replaceChildren(...months.map((each) => h("option", { value: each, selected: each === chosen }, named(each))));
      read(chosen);
    },
    end() { ended = true; },
  };
}

/** The month and those before it, as 2026-11. */
function before(month, number) {
  const [year, index] = month.split("-").map(Number);
  return Array.from({ length: number }, (_, back) => new Date(Date.UTC(year, index - 1 - back, 1)).toISOString().slice(0, 7));
}
const named = (month) => new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" }).format(new Date(`${month}-01T00:00:00Z`));

function drawn(told) {
  const came = told.received;
  const soFar = told.over ? "" : " so far";
  return [
    h("section", { class: "card" }, h("h2", {}, `Received${soFar}`, h("span", { class: "aside" }, `${told.first} to ${told.last}`)),
      h("p", {}, h("strong", { class: "figure" }, count(came.images)),
        h("span", { class: "under" }, `${many(came.images, "image")} of ${many(came.studies, "study", "studies")} · ${size(came.bytes)}`)),
      bars(told.by_day.days, images(told.by_day.received), "images received", "a day"),
      table("Received, by source and modality", ["source", "modality", "studies", "images", "bytes"],
        told.received_from.map((one) => [one.source, one.modality, count(one.arrived.studies), count(one.arrived.images), size(one.arrived.bytes)]))),
    ...told.destinations.map((one) => destination(one, told.by_day)),
  ];
}

function destination(one, by_day) {
  const all = one.total;
  const parts = [
    `${many(all.images, "image")} of ${many(all.studies, "study", "studies")}`, `${size(all.bytes_sent)} sent`,
    all.bytes_received > 0 && all.bytes_saved > 0 ? `${Math.round(100 * all.bytes_saved / all.bytes_received)} % saved` : "",
    all.median_seconds === null ? "" : `time to delivery: half ${duration(all.median_seconds)}, 95 % ${duration(all.p95_seconds)}`,
  ];
  return h("section", { class: "card" }, h("h2", {}, `Delivered to ${one.name}`),
    h("p", {}, h("strong", { class: "figure" }, count(all.images)), h("span", { class: "under" }, parts.filter(Boolean).join(" · "))),
    all.images === 0 ? null : bars(by_day.days, images(by_day.delivered[one.name]), `images delivered to ${one.name}`, "a day"),
    table(`Delivered to ${one.name}, by source and modality`,
      ["source", "modality", "studies", "images", "sent", "saved", "median", "95 %"],
      one.sources.map(({ source, modality, reached }) => [source, modality, count(reached.studies), count(reached.images),
        size(reached.bytes_sent), reached.bytes_saved > 0 ? size(reached.bytes_saved) : "–",
        reached.median_seconds === null ? "–" : duration(reached.median_seconds),
        reached.p95_seconds === null ? "–" : duration(reached.p95_seconds)])),
    all.failures.length ? table(`Attempts at ${one.name} that did not deliver`, ["reason", "attempts", "images parked"],
      all.failures.map((each) => [each.reason, count(each.attempts), count(each.parked)])) : null);
}

const images = (counted) => counted.map((one) => one.images);

function table(title, head, rows) {
  if (!rows.length) return h("p", { class: "dim" }, "Nothing in these days.");
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    h("table", {}, h("caption", { class: "skip" }, title),
      h("thead", {}, h("tr", {}, head.map((word) => h("th", { scope: "col" }, word)))),
      h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((word) => h("td", {}, word)))))));
}
