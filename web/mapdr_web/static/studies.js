// Studies: found by what is known of them, with what each destination has; their images; the way of one image.

import { header } from "./header.js";
import { ask, askAlone, h, keep, say, show } from "./dom.js";
import { count, many, short, size, when } from "./words.js";

const LISTED = 200, MOST = 3200; // studies at first, and at most
const IMAGES = 500;
const EVERY = 5000;
const FRESH = { received: "today", modality: "", peer: "", destination: "", state: "", patient_id: "", accession_number: "" };
let kept = { ...FRESH }, keptFor = ""; // what was asked for last, by whom: nobody inherits it

export function studies(main, session) {
  const may = session.role === "operator";
  if (keptFor !== session.csrf) [kept, keptFor] = [{ ...FRESH }, session.csrf];
  const field = (name, label, about = {}) => h("label", {}, label,
    h("input", { name, value: kept[name], autocomplete: "off", spellcheck: "false", ...about }));
  const choice = (name, label, options) => {
    const made = h("select", { name }, options.map(([value, text]) => h("option", { value }, text)));
    made.value = kept[name];
    return h("label", {}, label, made);
  };
  const who = h("input", { type: "checkbox", name: "who" });
  const form = h("form", { class: "card filter", role: "search", onsubmit: (event) => { event.preventDefault(); read(true); } },
    choice("received", "Received", [["today", "today"], ["week", "in 7 days"], ["month", "in 30 days"], ["", "ever"]]),
    field("modality", "Modality", { size: 5, placeholder: "CT" }), field("peer", "From", { size: 10, placeholder: "AE title" }),
    field("destination", "To", { size: 10, placeholder: "destination" }),
    choice("state", "State", [["", "any"], ["pending", "waiting"], ["delivered", "delivered"], ["parked", "parked"],
      ["held", "held"], ["unrouted", "unrouted"]]),
    may ? [field("accession_number", "Accession number", { size: 12 }), field("patient_id", "Patient ID", { size: 12 })] : null,
    h("button", { type: "submit", class: "first" }, "Find"),
    may ? h("label", { class: "check" }, who, "Show who it is (the audit is told)") : null);
  const told = h("p", { class: "quiet", role: "status" }, "…");
  const body = h("tbody"), head = h("tr");
  const table = h("section", { class: "card" }, h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Studies" },
    h("table", { class: "text" }, h("thead", {}, head), body)));
  main.replaceChildren(h("h1", { class: "title" }, "Studies"), form, told, table);
  let state = null, ended = false, seen = "", readAt = 0, named = false, listed = LISTED;
  const more = h("p", { class: "buttons" }, h("button", { type: "button", onclick: () => {
    listed *= 2;
    read(true);
  } }, "Show more"));
  main.append(more);

  function asked() {
    for (const name of Object.keys(kept)) if (form.elements[name]) kept[name] = form.elements[name].value.trim();
    const given = { limit: listed };
    for (const [name, value] of Object.entries(kept)) if (value && name !== "received") given[name] = value;
    if (given.modality) given.modality = given.modality.toUpperCase();
    const days = { today: 0, week: 6, month: 29 }[kept.received];
    if (days !== undefined) given.received = `${before(state.day, days)}..`;
    if (who.checked) given.identify = true;
    return given;
  }

  async function read(person) {
    if (!state) return;
    readAt = performance.now();
    let found;
    try {
      // In a body: what is asked for may be somebody's number.
      found = await ask("/studies", asked(), "POST", person ? {} : { "x-unattended": "1" });
    } catch (error) {
      if (!ended) told.textContent = error.message;
      return;
    }
    if (ended) return;
    named = who.checked || Boolean(kept.patient_id || kept.accession_number);
    const rows = found.studies;
    told.textContent = rows.length ? `${many(rows.length, "study", "studies")}${rows.length === listed ? ", the newest" : ""}`
      : "There is no such study.";
    table.hidden = !rows.length;
    more.hidden = rows.length < listed || listed >= MOST;
    show(head, who.checked, () => ["received", "modality", "images", "from", ...(who.checked ? ["patient", "accession", "study date"] : []),
      "destinations", "study"].map((word) => h("th", { scope: "col" }, word)));
    keep(body, rows.map((one) => [`${who.checked} ${one.study_instance_uid}`,
      [one, found.confirmed[one.study_instance_uid], who.checked], row]));
  }

  function row() {
    const node = h("tr");
    return { node, update(value) {
      show(node, value, ([one, confirmed, identified]) => [
        h("td", {}, h("a", { href: `/studies/${encodeURIComponent(one.study_instance_uid)}` }, when(one.last_at, state.at))),
        h("td", {}, Object.keys(one.modalities).join(" ") || "–"),
        h("td", {}, count(one.images)), h("td", {}, names(one.sources)),
        identified ? [h("td", {}, one.tags?.PatientID ?? "–"), h("td", {}, one.tags?.AccessionNumber ?? "–"), h("td", {}, one.study_date ?? "–")] : null,
        h("td", {}, standings(confirmed, one.unrouted)),
        h("td", { class: "uid", title: one.study_instance_uid }, short(one.study_instance_uid))]);
    } };
  }

  return {
    title: "Studies",
    draw(found) {
      const first = state === null;
      state = found;
      const now = JSON.stringify([found.today, found.pending, found.parked, found.unrouted]);
      // By itself it asks for nobody by name, and shows no name again and again.
      if (first || (now !== seen && !named && performance.now() - readAt > EVERY)) {
        seen = now;
        read(false);
      }
    },
    end() { ended = true; },
  };
}

export function study(main, session, uid) {
  const title = h("h1", { class: "title" }, "Study");
  const about = h("section", { class: "card" }), body = h("tbody"), said = h("p", { class: "quiet" });
  const table = h("section", { class: "card", hidden: true }, h("h2", {}, "Images"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Images" }, h("table", { class: "text" },
      h("thead", {}, h("tr", {}, ["received", "modality", "from", "size", "where it stands", "image"].map((word) => h("th", { scope: "col" }, word)))), body)));
  main.replaceChildren(back("/studies", "Studies"), title, about, table, said);
  let state = null, ended = false, readAt = 0;

  async function read() {
    readAt = performance.now();
    let one, found, confirmed;
    try {
      const listed = await askAlone(`/studies?study_instance_uid=${encodeURIComponent(uid)}`);
      [one] = listed.studies;
      if (!one) throw new Error("There is no such study here.");
      confirmed = listed.confirmed[uid];
      found = (await askAlone(`/studies/${encodeURIComponent(uid)}/images`)).images;
    } catch (error) {
      if (!ended) said.textContent = error.message;
      return;
    }
    if (ended) return;
    show(title, one, () => `${Object.keys(one.modalities).join(" ") || "Study"}, ${many(one.images, "image")}`);
    show(about, [one, confirmed], () => h("dl", {},
      entry("Received", `${when(one.first_at, state.at)} to ${when(one.last_at, state.at)}`), entry("From", names(one.sources)),
      entry("Size", size(one.bytes)), entry("Destinations", standings(confirmed, one.unrouted)), entry("Study Instance UID", h("span", { class: "uid" }, uid))));
    table.hidden = false;
    said.textContent = found.length > IMAGES ? `The newest ${count(IMAGES)} of ${count(found.length)} are listed.` : "";
    keep(body, found.slice(0, IMAGES).map((each) => [each.instance, each, imageRow]));
  }
  function imageRow() {
    const node = h("tr");
    return { node, update(value) {
      show(node, value, (each) => [
        h("td", {}, h("a", { href: `/images/${encodeURIComponent(each.sop_instance_uid)}?study=${encodeURIComponent(uid)}` }, when(each.received_at, state.at))),
        h("td", {}, each.modality || "–"),
        h("td", {}, names([each.source])), h("td", {}, size(each.bytes)),
        h("td", {}, each.unrouted ? mark("unrouted", "warn") : Object.entries(each.destinations).map(([name, word]) => [mark(word, LEVEL[word], name), " "])),
        h("td", { class: "uid", title: each.sop_instance_uid }, short(each.sop_instance_uid))]);
    } };
  }
  return {
    title: "Study",
    draw(found) {
      state = found;
      if (performance.now() - readAt > EVERY) read();
    },
    end() { ended = true; },
  };
}

export function image(main, session, uid) {
  const list = h("ul", { class: "rows" }), promises = h("ul", { class: "rows" }), up = h("div", { class: "quiet" });
  main.replaceChildren(up, h("h1", { class: "title" }, "Image"), h("section", { class: "card" }, h("h2", {}, "What happened"), list),
    h("section", { class: "card" }, h("h2", {}, "What was promised"), promises), h("section", { class: "card" }));
  const within = new URLSearchParams(location.search).get("study"); // found without a look at every image
  const diff = header(main.lastElementChild, session, uid, within);
  let state = null, ended = false, readAt = 0;

  async function read() {
    readAt = performance.now();
    let found;
    try {
      found = await askAlone(`/images/${encodeURIComponent(uid)}/timeline${within ? `?study=${encodeURIComponent(within)}` : ""}`);
    } catch (error) {
      if (!ended) say(error.message);
      return;
    }
    if (ended) return;
    const by = Object.fromEntries(found.images.map((one) => [one.instance, one]));
    show(up, found.images[0]?.study_instance_uid ?? "", (known) => (known ? h("a", { href: `/studies/${encodeURIComponent(known)}` }, "‹ Its study") : back("/studies", "Studies")));
    show(list, found.steps, () => (found.steps.length ? found.steps.map((step) => h("li", {},
      h("time", {}, `${step.at.slice(0, 10) === state.day ? "" : `${step.at.slice(0, 10)} `}${step.at.slice(11, 23)}`),
      step.destination ? h("span", { class: "name" }, step.destination) : null,
      h("span", { class: "text" }, step.kind === "received"
        ? `received from ${names([by[step.instance].source])} at ${by[step.instance].source.address || "this machine"}, ${size(step.bytes)}, ${step.transfer_syntax}`
        : [mark(step.word, LEVEL[step.word]), " ", [step.status === null ? "" : `0x${step.status.toString(16).toUpperCase().padStart(4, "0")}`, step.reason, step.comment,
          step.bytes ? `${size(step.bytes)} ${step.transfer_syntax}` : "", step.ratio >= 1.05 ? `${step.ratio.toFixed(1)}:1` : ""].filter(Boolean).join(" · ")])))
      : h("li", { class: "dim" }, "There is no such image here.")));
    show(promises, found.promises, () => (found.promises.length ? found.promises.map((one) => h("li", {},
      mark(one.state, LEVEL[one.state], one.destination),
      h("span", { class: "note" }, [one.rules.length ? `by ${one.rules.map((rule) => `"${rule}"`).join(", ")}` : "by a rule that is no longer kept",
        one.transforms.length ? `changed by ${one.transforms.map((each) => each.type).join(", ")}` : "sent as received"].join("; "))))
      : h("li", { class: "dim" }, "Nothing: no rule takes it.")));
    diff.draw(found);
  }
  return {
    title: "Image",
    draw(found) {
      state = found;
      if (performance.now() - readAt > EVERY) read();
    },
    end() {
      ended = true;
      diff.end();
    },
  };
}

const LEVEL = { delivered: "good", pending: "warn", leased: "warn", held: "warn", parked: "bad", refused: "bad", retry: "warn", dismissed: "dim", superseded: "dim" };
const SHAPE = { good: "●", warn: "◐", bad: "▲", dim: "○" };
const WORD = { pending: "waiting", leased: "in hand" };

/** A state as a shape, a word and a colour. */
function mark(word, level = "dim", name = "") {
  return h("span", { class: `state ${level}` }, h("span", { "aria-hidden": "true" }, SHAPE[level]), name ? `${name} ${WORD[word] ?? word}` : WORD[word] ?? word);
}

function standings(confirmed, unrouted) {
  const marks = Object.entries(confirmed ?? {}).map(([name, one]) => [h("span", { class: `state ${one.level}` },
    h("span", { "aria-hidden": "true" }, SHAPE[one.level]),
    `${name} ${count(one.delivered)} of ${count(one.promised)}${one.parked ? `, ${count(one.parked)} parked` : ""}`), "  "]);
  return [...marks, unrouted ? mark(`${count(unrouted)} unrouted`, "warn") : null, !marks.length && !unrouted ? "–" : null];
}

const names = (sources) => [...new Set(sources.map((one) => one.calling_ae || one.credential || one.receiver))].join(", ") || "–";
const entry = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
const back = (href, text) => h("p", { class: "quiet" }, h("a", { href }, `‹ ${text}`));

function before(day, days) {
  const [year, month, number] = day.split("-").map(Number);
  return new Date(Date.UTC(year, month - 1, number - days)).toISOString().slice(0, 10);
}
