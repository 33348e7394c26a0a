// A form of the configuration: its fields, what is wrong with each, and its buttons.

import { h } from "./dom.js";

let forms = 0;

/**
 * `fields`: { name, label, type, hint, fixed, choices }. `save` and each of `buttons` are given the values and answer with
 * { problems: [{ field, what, cure }], said }; a text `said` is shown. `more` stands below the fields.
 */
export function form(title, fields, values, { fixed = false, more = "", buttons = {}, save, cancel }) {
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
  const saves = h("button", { type: "submit", class: "first" }, "Save");
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
  if (field.choices) {
    input = h("select", { ...about, multiple: field.several ?? false }, field.choices.map((one) => h("option", {
      value: one, selected: field.several ? value.includes(one) : value === one }, one)));
  } else if (field.type === "checkbox") {
    input = h("input", { ...about, type: "checkbox", checked: value });
  } else {
    input = h("input", { ...about, type: "text", inputmode: field.type === "number" ? "numeric" : false, value, readonly: fixed });
  }
  const node = h("div", { class: field.type === "checkbox" ? "field check" : "field" }, h("label", { for: id }, field.label), input,
    h("span", { class: "dim", id: `${id}-hint` }, field.hint ?? ""), wrong);
  return {
    name: field.name, node,
    value() {
      if (field.several) return [...input.selectedOptions].map((one) => one.value);
      if (field.type === "checkbox") return input.checked;
      const text = input.value.trim();
      return field.type === "number" && /^\d+$/.test(text) ? Number(text) : text;
    },
    tell(text) {
      wrong.textContent = text ? `▲ ${text}` : "";
      if (text) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    },
    focus() { input.focus(); },
  };
}
