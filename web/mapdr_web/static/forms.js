// A form of the configuration: its fields, what is wrong with each, and its buttons.

import { h } from "./dom.js";

let forms = 0;

/**
 * `fields`: { name, label, type, hint, fixed, list, choices: [[value, text]], several }. `save` and each of `buttons` are given the values and answer with
 * { problems: [{ field, what, cure }], said }; a text `said` is shown. `more` stands below the fields, `does` on the button of `save`.
 */
export function form(title, fields, values, { fixed = false, more = "", buttons = {}, does = "Save", save, cancel }) {
  forms += 1;
  const id = (name) => `form-${forms}-${name}`;
  const rows = fields.map((field) => row(field, values[field.name], id(field.name), fixed && field.fixed));
  const said = h("p", { role: "status", class: "said-here" });
  const given = () => Object.fromEntries(rows.map((one) => [one.name, one.value()]));

  async function run(what) {
    said.textContent = "…";
    for (const one of rows) one.tell("");
    for (const each of all) each.disabled = true;
    try {
      const told = await what(given());
      said.textContent = told?.said ?? "";
      const about = told?.problems ?? [];
      let first = null;
      for (const each of about) {
        const one = rows.find((other) => each.field === other.name || each.field.startsWith(`${other.name}.`) || each.field.startsWith(`${other.name}[`));
        const text = `${each.what}${each.cure ? `; ${each.cure}` : ""}`;
        if (one) {
          one.tell(text);
          first ??= one;
        } else said.textContent += `${said.textContent ? " " : ""}▲ ${text}.`;
      }
      first?.focus();
    } catch (error) {
      const one = rows.find((other) => other.name === error.field);
      if (one) {
        said.textContent = "";
        one.tell(error.message);
        one.focus();
      } else said.textContent = `▲ ${error.message}`;
    } finally {
      for (const each of all) each.disabled = false;
    }
  }

  const others = Object.entries(buttons).map(([text, what]) => h("button", { type: "button", onclick: () => run(what) }, text));
  const saves = h("button", { type: "submit", class: "first" }, does);
  const all = [...others, saves];
  return h("form", { class: "fields", "aria-label": title, novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    run(save);
  } }, h("h3", {}, title), rows.map((one) => one.node), more ? h("p", { class: "dim" }, more) : null, said,
  h("p", { class: "buttons" }, saves, others, h("button", { type: "button", onclick: cancel }, "Cancel")));
}

function row(field, value, id, fixed) {
  const wrong = h("span", { class: "bad", id: `${id}-wrong` });
  const about = { id, "aria-describedby": `${id}-hint ${id}-wrong`, autocomplete: "off" };
  let input;
  if (field.several) {
    const boxes = field.choices.map(([one, text]) => h("label", { class: "check" }, h("input", { type: "checkbox", value: one, checked: value.includes(one) }), text));
    return several(field, id, wrong, boxes);
  }
  if (field.choices) {
    input = h("select", about, field.choices.map(([one, text]) => h("option", { value: one, selected: value === one }, text)));
  } else if (field.type === "checkbox") {
    input = h("input", { ...about, type: "checkbox", checked: value });
  } else {
    input = h("input", { ...about, type: "text", inputmode: { number: "numeric", decimal: "decimal" }[field.type], value: field.list ? value.join(", ") : value, readonly: fixed });
  }
  const node = h("div", { class: field.type === "checkbox" ? "field check" : "field" }, h("label", { for: id }, field.label), input,
    h("span", { class: "dim", id: `${id}-hint` }, field.hint ?? ""), wrong);
  return {
    name: field.name, node,
    value() {
      if (field.type === "checkbox") return input.checked;
      const text = input.value.trim();
      if (field.list) return text.split(/[,\s]+/).filter(Boolean);
      return field.type && /^\d+([.,]\d+)?$/.test(text) ? Number(text.replace(",", ".")) : text;
    },
    tell(text) {
      wrong.textContent = text ? `▲ ${text}` : "";
      if (text) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
    focus() { input.focus(); },
  };
}

/** A box for each choice; the list of those that are ticked. */
function several(field, id, wrong, boxes) {
  const node = h("fieldset", { class: "field", "aria-describedby": `${id}-hint ${id}-wrong` }, h("legend", {}, field.label),
    h("div", { class: "boxes" }, boxes), h("span", { class: "dim", id: `${id}-hint` }, field.hint ?? ""), wrong);
  const inputs = boxes.map((one) => one.querySelector("input"));
  return {
    name: field.name, node,
    value: () => inputs.filter((one) => one.checked).map((one) => one.value),
    tell(text) { wrong.textContent = text ? `▲ ${text}` : ""; },
    focus() { inputs[0]?.focus(); },
  };
}
