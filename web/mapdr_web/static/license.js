// The license: how it stands, the request code with its QR code, and a form to install one. The first start uses the parts.

import { ask, askAlone, h } from "./dom.js";

const MARKS = { licensed: ["●", "good"], trial: ["○", ""], grace: ["▲", "warn"], over: ["▲", "bad"] };
const LONGEST = 20000; // bytes of a file: every license is shorter
const FACTS = { machine: "machine id", firmware: "firmware", board: "mainboard", disk: "system disk", cpu: "processor", network: "network card" };

/** How it stands, in one sentence. */
export function sentence(told) {
  const [mark, level] = MARKS[told.state] ?? ["", ""];
  const text = `${told.comment[0].toUpperCase()}${told.comment.slice(1)}.`;
  return [mark ? h("span", { class: level }, `${mark} `) : null, h("span", { class: level === "good" ? "" : level }, text)].filter(Boolean);
}

/** A request code in its groups, to be read out or copied, and as a QR code. */
export function requestCode(told) {
  const groups = told.code.split("-").map((group, index, all) => [h("span", { class: "code-group" }, index < all.length - 1 ? `${group}-` : group), h("wbr")]);
  const picture = document.importNode(new DOMParser().parseFromString(told.svg, "image/svg+xml").documentElement, true);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", "The request code as a QR code");
  return h("div", { class: "request" }, h("p", { class: "request-code" }, groups), h("div", { class: "qr" }, picture));
}

/** Puts the license in a file into `area`; `tell` is given what is wrong. */
export async function takeFile(file, area, tell) {
  if (!file) return;
  if (file.size > LONGEST) return tell("this file is no license: it is too long");
  try {
    area.value = (await file.text()).trim();
    tell("");
  } catch {
    tell("this file cannot be read");
  }
}

/** A card that reads how it stands. */
export function license(acts) {
  const said = h("p", { tabindex: "-1" }, "…");
  const about = h("div"), place = h("div");
  const node = h("section", { class: "card" }, h("h2", {}, "License"), said, about, place);
  let ended = false;

  async function read() {
    try {
      draw(await askAlone("/license"));
    } catch (error) {
      if (!ended) said.replaceChildren(error.message);
    }
  }

  function draw(told) {
    if (ended) return;
    said.replaceChildren(...sentence(told));
    about.replaceChildren(...(told.license ? [allowed(told)] : []));
    place.replaceChildren(...(acts && told.state !== "unneeded" ? [h("p", { class: "buttons below" }, h("button", { type: "button", onclick: open }, told.license ? "Install another license" : "Get a license"))] : []));
  }

  async function open(event) {
    event.currentTarget.disabled = true;
    let asked;
    try {
      asked = requestCode(await ask("/license/request", {}));
    } catch (error) {
      asked = h("p", { role: "alert" }, `▲ ${error.message}`);
    }
    if (ended) return;
    const made = installing();
    place.replaceChildren(h("div", { class: "fields" }, h("h3", {}, "1. Send this code to the vendor"), asked), made);
    made.querySelector("textarea").focus({ preventScroll: true });
  }

  async function cancel() {
    await read();
    place.querySelector("button")?.focus();
  }

  function installing() {
    const wrong = h("span", { class: "bad", id: "license-wrong" });
    const area = h("textarea", { id: "license-token", rows: "5", spellcheck: "false", autocomplete: "off", "aria-describedby": "license-hint license-wrong" });
    const file = h("input", { type: "file", id: "license-file", accept: ".txt,text/plain", onchange: () => takeFile(file.files[0], area, tell) });
    const installs = h("button", { type: "submit", class: "first" }, "Install");
    function tell(text) {
      wrong.textContent = text ? `▲ ${text}` : "";
      if (text) area.setAttribute("aria-invalid", "true");
      else area.removeAttribute("aria-invalid");
    }
    async function install(event) {
      event.preventDefault();
      installs.disabled = true;
      tell("");
      try {
        draw(await ask("/license/install", { token: area.value.trim() }));
        said.focus();
      } catch (error) {
        tell(error.message);
        area.focus();
      } finally {
        installs.disabled = false;
      }
    }
    return h("form", { class: "fields", "aria-label": "Install a license", novalidate: true, onsubmit: install }, h("h3", {}, "2. Install the license that the vendor sends"),
      h("div", { class: "field" }, h("label", { for: "license-token" }, "License"), area, h("span", { class: "dim", id: "license-hint" }, "A long line of letters and digits, copied from the vendor's message."), wrong),
      h("div", { class: "field" }, h("label", { for: "license-file" }, "Or its file"), file),
      h("p", { class: "buttons" }, installs, h("button", { type: "button", onclick: cancel }, "Cancel")));
  }

  read();
  return { node, end() { ended = true; } };
}

function allowed(told) {
  const one = told.license;
  const limits = [["source", one.sources], ["destination", one.destinations], ["image a day", one.images_a_day]].filter(([, number]) => number !== null)
    .map(([what, number]) => `${number} ${number === 1 ? what : what.replace(/^(\w+)/, "$1s")}`);
  const names = (kinds) => kinds.map((kind) => FACTS[kind] ?? kind).join(", ");
  const rows = [["Given to", one.customer], ["Number", `${one.id}, issued ${one.issued}`], ["Last day", one.expires ?? "none: it does not end"],
    ["For", [...limits, ...one.features].join(", ")], ["Matches by", names(told.same)], ["Differs in", names(told.other)], ["Not readable", names(told.unreadable)]];
  return h("dl", { class: "below" }, rows.filter(([, text]) => text).map(([name, text]) => [h("dt", {}, name), h("dd", {}, text)]));
}
