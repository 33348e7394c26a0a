// The header of an image before and after, for each destination, by what it was promised.

import { ask, askAlone, h, show } from "./dom.js";
import { changed } from "./rules.js";
import { count, many } from "./words.js";

/** Fills `place`; `draw(timeline)` looks again where what was promised has changed. */
export function header(place, session, uid, study) {
  const who = h("input", { type: "checkbox", name: "values", onchange: () => read() });
  const said = h("p", { class: "quiet", role: "status" }), body = h("div");
  place.replaceChildren(h("h2", {}, "Header, before and after"), h("p", { class: "dim" },
    "What each destination is sent, by the recipe that was promised to it. Pixels are not computed for this."),
  session.role === "operator" ? h("label", { class: "values" }, who, "Show the values (the audit is told)") : null, said, body);
  let seen = "", ended = false;

  async function read() {
    const given = { ...(study ? { study } : {}), ...(who.checked ? { identify: "1" } : {}) };
    const path = `/images/${encodeURIComponent(uid)}/header?${new URLSearchParams(given)}`, asked = who.checked;
    let found;
    try {
      found = await (asked ? ask(path) : askAlone(path));
    } catch (error) {
      if (!ended) said.textContent = error.message;
      return;
    }
    if (ended || asked !== who.checked) return;
    said.textContent = found.purged ? `The file of ${found.purged === found.known ? "this image" : `${count(found.purged)} of ${many(found.known, "copy", "copies")}`} was purged: its header cannot be shown any more.`
      : found.promises.length ? "" : "Nothing is promised to a destination.";
    show(body, [asked, found.promises], () => found.promises.map((one) => promise(one, asked)));
  }

  return {
    draw(found) {
      const now = JSON.stringify([found.images.map((one) => one.purged_at), found.promises]);
      if (now === seen) return;
      seen = now;
      who.checked = false; // by itself it shows no value again
      read();
    },
    end() { ended = true; },
  };
}

function promise(one, values) {
  const title = `${one.destination}${one.state === "superseded" ? ", superseded" : ""}`;
  const later = one.pixels.length ? `Then: ${one.pixels.join(", ")}, which writes pixels and what describes them, such as the transfer syntax.` : "";
  return h("section", { class: "below", "aria-label": title }, h("h3", {}, title),
    one.error ? h("p", {}, h("b", { class: "bad" }, "▲ Problem: "), one.error)
      : values ? changed(one.changes, title)
        : one.changes.length ? h("p", {}, one.changes.map((each) => `${each.name || each.tag} is ${each.change}`).join("; "), ".") : h("p", {}, "No element changes."),
    later ? h("p", { class: "dim" }, later) : null);
}
