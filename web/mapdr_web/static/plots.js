// Plots of counts: a bar for each hour or day, and in words for who does not see them.

import { h, s } from "./dom.js";
import { count } from "./words.js";

/** `values` by `labels`, of what (`noun`), each a `unit` such as "an hour". Nothing counted: a sentence. */
export function bars(labels, values, noun, unit) {
  const all = values.reduce((sum, each) => sum + each, 0), most = Math.max(0, ...values);
  if (!all) return h("p", { class: "dim" }, `No ${noun} in this time.`);
  const width = 720 / values.length;
  return [
    s("svg", { class: "plot", viewBox: "0 0 720 150", preserveAspectRatio: "none", role: "img",
      "aria-label": `${count(all)} ${noun}; most of them, ${count(most)}, at ${labels[values.indexOf(most)]}` },
    s("path", { class: "grid", d: "M0 8H720M0 77H720M0 146H720" }),
    ...values.map((each, index) => s("rect", { class: "bar", x: (index * width + width * 0.12).toFixed(1), width: (width * 0.76).toFixed(1),
      y: (146 - (each / most) * 138).toFixed(1), height: ((each / most) * 138).toFixed(1) },
    title(`${labels[index]}: ${count(each)}`)))),
    h("div", { class: "axis" }, h("span", {}, labels[0]), h("span", {}, `highest ${count(most)} ${unit}`), h("span", {}, labels[labels.length - 1])),
  ];
}

function title(text) {
  const made = s("title");
  made.textContent = text;
  return made;
}
