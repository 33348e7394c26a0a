// Settings: the configuration file with its problems, and forms for what a clinic changes in it.

import { ask, confirmed, h, query, say } from "./dom.js";
import { form } from "./forms.js";
import { hooks } from "./hooks.js";
import { license } from "./license.js";
import { many } from "./words.js";

const SOURCE = [
  { name: "ae_title", label: "AE title", hint: "What the modality calls itself. Empty: any." },
  { name: "host", label: "Address", hint: "10.1.2.3, or a network such as 10.1.2.0/24. Empty: any." },
];

const DESTINATION = [
  { name: "name", label: "Name", hint: "As rules and listings call it, such as telepacs.", fixed: true },
  { name: "ae_title", label: "AE title", hint: "What the receiver is called: up to 16 characters." },
  { name: "host", label: "Host", hint: "A name or an address." },
  { name: "port", label: "Port", type: "number", hint: "Often 104 or 11112." },
  { name: "tls", label: "Speaks TLS", type: "checkbox" },
];

const RULE = [
  { name: "name", label: "Name", fixed: true },
  { name: "modality", label: "Modality", list: true, hint: "CT, MR: one of these. Empty: every modality." },
  { name: "station", label: "Station name", hint: "A pattern, such as ER*. Empty: every station." },
  { name: "calling_ae", label: "Sender's AE title", hint: "A pattern, such as CT*. Empty: every sender." },
  { name: "prefix", label: "Accession prefix", hint: "Stands before the accession number, such as CN-. Empty: none." },
  { name: "compress", label: "Compression", choices: [["none", "As it came"], ["lossless", "JPEG 2000 without loss"], ["lossy", "JPEG 2000 at a ratio"]] },
  { name: "ratio", label: "Ratio", type: "decimal", hint: "How many times smaller, at a ratio." },
  { name: "send_to", label: "Send to", several: true, hint: "None: the image is kept here." },
];

export function settings(main, session) {
  const acts = session.role === "operator";
  const about = h("div", { class: "alerts" }, h("p", { class: "quiet" }, "…"));
  const body = h("div", { class: "alerts" });
  let found = null, ended = false, at = null;
  const told = hooks(acts, () => at ?? new Date().toISOString());
  const licensed = license(acts);
  main.replaceChildren(h("h1", { class: "title" }, "Settings"), about, body, told.node, licensed.node);

  async function read() {
    try {
      found = await query("/settings", {});
    } catch (error) {
      if (!ended) about.replaceChildren(h("p", { class: "quiet", role: "alert" }, error.message));
      return;
    }
    if (ended) return;
    about.replaceChildren(file(found.file));
    body.replaceChildren(...found.receivers.map(sources), destinations(), rules());
  }

  function file(told) {
    const state = told.in_use === null ? "" : told.in_use ? "● in use" : "▲ changed since the node has read it: mapdr reload";
    const place = h("div");
    return h("section", { class: "card" }, h("h2", {}, "The configuration file", h("span", { class: "aside" }, told.file)),
      state ? h("p", { class: told.in_use ? "good" : "warn" }, state) : null,
      ...told.problems.map((one) => finding("bad", "Problem", one)), ...told.warnings.map((one) => finding("warn", "Attention", one)),
      told.problems.length + told.warnings.length ? null : h("p", {}, "Nothing is wrong with it."),
      acts ? h("p", { class: "buttons below" }, h("button", { type: "button", onclick: (event) => showText(event.currentTarget, place) }, "Show the file")) : null, place);
  }
  function finding(level, word, one) {
    return h("p", {}, h("b", { class: level }, `▲ ${word}: `), one.line ? `line ${one.line}: ` : "", one.path ? h("code", {}, one.path) : "",
      ` ${one.what}. `, one.cure ? `Cure: ${one.cure}.` : "");
  }
  async function showText(button, place) {
    try {
      const told = await ask("/settings", { identify: true });
      place.replaceChildren(h("pre", { class: "scroll text", tabindex: "0", role: "region", "aria-label": "The configuration file" }, told.file.text ?? "It cannot be read."));
      button.remove();
    } catch (error) {
      say(error.message);
    }
  }

  function sources(receiver) {
    const place = h("div");
    const open = receiver.sources.length === 0;
    const rows = receiver.sources.map((one) => h("tr", {}, h("th", { scope: "row" }, one.ae_title || "any AE title"), h("td", {}, one.host || "any address"),
      acts ? h("td", { class: "act" }, h("button", { type: "button", "aria-label": `Change ${called(one)}`, onclick: () => editSource(place, receiver, one) }, "Change"), " ",
        h("button", { type: "button", "aria-label": `Remove ${called(one)}`, onclick: () => removeSource(receiver, one) }, "Remove")) : null));
    return h("section", { class: "card" }, h("h2", {}, `Who may send to ${receiver.name}`,
      acts ? h("span", { class: "aside" }, h("button", { type: "button", onclick: () => editSource(place, receiver, null) }, "Add a source")) : null),
    h("p", {}, `It is ${receiver.ae_title} at port ${receiver.port}. `, open ? "Anybody may send to it." : "Nobody else may send to it."),
    open ? null : h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Sources of ${receiver.name}` }, h("table", { class: "text" },
      h("thead", {}, h("tr", {}, ["AE title", "address"].map((word) => h("th", { scope: "col" }, word)),
        acts ? h("th", { scope: "col" }, h("span", { class: "skip" }, "action")) : null)), h("tbody", {}, rows))), place);
  }
  const called = (one) => [one.ae_title, one.host].filter(Boolean).join(" at ");
  const sourcePath = (receiver) => `/settings/receivers/${encodeURIComponent(receiver.name)}/sources`;

  function editSource(place, receiver, one) {
    const old = one ? { old_ae_title: one.ae_title, old_host: one.host } : {};
    const made = form(one ? `Change ${called(one)}` : "A new source", SOURCE, one ?? { ae_title: "", host: "" }, {
      more: receiver.sources.length ? "" : "Until now anybody may send here. With the first source only those in the list may.",
      save: (given) => saved(ask(`${sourcePath(receiver)}/save`, { ...given, ...old, seen: found.file.seen }), called(given)),
      cancel: () => place.replaceChildren(),
    });
    place.replaceChildren(made);
    made.querySelector("input").focus();
  }
  async function removeSource(receiver, one) {
    const last = receiver.sources.length === 1;
    const text = last ? "It is the last of the list: then anybody may send here." : "It may send here no more.";
    await taken(called(one), `${sourcePath(receiver)}/remove`, text, one);
  }

  function destinations() {
    const place = h("div");
    const rows = found.destinations.map((one) => {
      const at = one.form ? `${one.form.ae_title} at ${one.form.host}:${one.form.port}${one.form.tls ? ", TLS" : ""}` : `type ${one.type}: change it in the file`;
      return h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, at), h("td", {}, one.rules.length ? one.rules.join(", ") : "no rule sends here"),
        acts ? h("td", { class: "act" }, one.form ? h("button", { type: "button", "aria-label": `Change ${one.name}`, onclick: () => edit(place, one) }, "Change") : null,
          " ", h("button", { type: "button", "aria-label": `Remove ${one.name}`, onclick: () => remove(one) }, "Remove")) : null);
    });
    return h("section", { class: "card" }, h("h2", {}, "Destinations",
      acts ? h("span", { class: "aside" }, h("button", { type: "button", onclick: () => edit(place, null) }, "Add a destination")) : null),
    rows.length ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Destinations" }, h("table", { class: "text" },
      h("thead", {}, h("tr", {}, ["name", "where", "rules that send there"].map((word) => h("th", { scope: "col" }, word)),
        acts ? h("th", { scope: "col" }, h("span", { class: "skip" }, "action")) : null)), h("tbody", {}, rows)))
      : h("p", { class: "dim" }, "There is none: images stay here."), place);
  }

  function edit(place, one) {
    const isNew = one === null;
    const values = one?.form ?? { name: "", ae_title: "", host: "", port: 104, tls: false };
    const made = form(isNew ? "A new destination" : `Change ${one.name}`, DESTINATION, values, {
      fixed: !isNew,
      more: one?.more.length ? `Kept as the file has it: ${one.more.join(", ")}.` : "",
      buttons: { Echo: async (given) => {
        const told = await ask(`${path(given.name)}/echo`, { ...rest(given), new: isNew });
        if (told.problems.length) return told;
        const echo = told.echo;
        return { ...told, said: echo.there ? `● ${given.ae_title} answers, in ${Math.round(echo.milliseconds)} ms.` : `▲ No answer: ${echo.comment}` };
      } },
      save: (given) => saved(ask(`${path(given.name)}/save`, { ...rest(given), seen: found.file.seen, new: isNew }), given.name),
      cancel: () => place.replaceChildren(),
    });
    place.replaceChildren(made);
    made.querySelector("input:not([readonly])").focus();
  }
  const path = (name) => `/settings/destinations/${encodeURIComponent(name || " ")}`;
  const rest = ({ name, ...others }) => others;

  function rules() {
    const place = h("div");
    const rows = found.rules.map((one) => h("li", {}, h("span", { class: "text" }, h("b", {}, one.name), h("br"), one.sentence),
      acts ? h("span", { class: "aside" }, one.form ? h("button", { type: "button", "aria-label": `Change the rule ${one.name}`, onclick: () => editRule(place, one) }, "Change") : "change it in the file",
        h("button", { type: "button", "aria-label": `Remove the rule ${one.name}`, onclick: () => removeRule(one) }, "Remove")) : null));
    return h("section", { class: "card" }, h("h2", {}, "Rules",
      acts ? h("span", { class: "aside" }, h("button", { type: "button", onclick: () => editRule(place, null) }, "Add a rule")) : null),
    rows.length ? h("ol", { class: "rows" }, rows) : h("p", { class: "dim" }, "There is none: images are kept, and go nowhere."), place);
  }

  function editRule(place, one) {
    const isNew = one === null;
    const fields = RULE.map((field) => (field.name === "send_to" ? { ...field, choices: found.destinations.map((each) => [each.name, each.name]) } : field));
    const values = one?.form ?? { name: "", modality: [], station: "", calling_ae: "", prefix: "", compress: "none", ratio: 10, send_to: [] };
    const made = form(isNew ? "A new rule, asked last" : `Change the rule ${one.name}`, fields, values, {
      fixed: !isNew,
      more: one?.more.length ? `Kept as the file has it: ${one.more.join(", ")}.` : "",
      save: (given) => saved(ask(`${rulePath(given.name)}/save`, { ...rest(given), seen: found.file.seen, new: isNew }), given.name),
      cancel: () => place.replaceChildren(),
    });
    place.replaceChildren(made);
    made.querySelector("input:not([readonly])").focus();
  }
  const rulePath = (name) => `/settings/rules/${encodeURIComponent(name || " ")}`;

  const removeRule = (one) => taken(one.name, `${rulePath(one.name)}/remove`, "It goes out of the file. What it has promised is delivered as it was promised.");

  /** What a change came to: the form shows problems; what is saved is read again. */
  async function saved(asked, name) {
    const told = await asked;
    if (told.stale) return { ...told, said: "▲ Somebody has changed the file meanwhile. Nothing was saved; cancel, and look at it again." };
    if (told.refused.length) return { ...told, said: `▲ The node does not take it, and the file is as it was: ${told.refused.join("; ")}` };
    if (!told.saved) return told;
    say(told.troubles.length ? `${name} is saved, but: ${told.troubles.join("; ")}` : told.in_use ? `${name} is saved and in use.` : `${name} is saved.`);
    await read();
    main.focus();
    return told;
  }

  async function remove(one) {
    const text = one.rules.length ? `${many(one.rules.length, "rule")} send there: ${one.rules.join(", ")}. Change them first.`
      : "It goes out of the file. What is owed to it waits until it is back.";
    await taken(one.name, `${path(one.name)}/remove`, text);
  }
  async function taken(name, address, text, given = {}) {
    if (!await confirmed(`Remove ${name}?`, text, `Remove ${name}`)) return;
    try {
      const told = await saved(ask(address, { ...given, seen: found.file.seen }), name);
      if (!told.saved) say(told.said ?? told.problems.map((each) => `${each.what}: ${each.cure}`).join("; "));
    } catch (error) {
      say(`Nothing was done: ${error.message}`);
    }
  }

  read();
  return { title: "Settings", draw(state) { at = state.at; }, end() {
    ended = true;
    told.end();
    licensed.end();
  } };
}
