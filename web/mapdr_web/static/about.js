// About: the version, the documents, and the licences of what others made.

import { h, query } from "./dom.js";
import { many } from "./words.js";

export function about(main) {
  const body = h("section", { class: "card" }, h("p", { class: "dim" }, "…"));
  let ended = false;
  main.replaceChildren(h("h1", { class: "title" }, "About MAPDR"), body);

  function drawn(told) {
    const row = (one) => h("tr", {}, h("th", { scope: "row" }, one.home ? h("a", { href: one.home, target: "_blank", rel: "noreferrer" }, one.name) : one.name),
      h("td", {}, one.version), h("td", {}, one.license));
    body.replaceChildren(
      h("p", {}, `MAPDR ${told.version}, a DICOM router. Its documents are in the folder docs of its sources; every command of mapdr has --help.`),
      h("h2", { class: "below" }, `The work of others in it: ${many(told.packages.length, "package")}`),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Packages and their licences" },
        h("table", { class: "text" }, h("thead", {}, h("tr", {}, ...["Package", "Version", "Licence"].map((text) => h("th", { scope: "col" }, text)))),
          h("tbody", {}, ...told.packages.map(row)))));
  }

  query("/about", {}).then((told) => { if (!ended) drawn(told); },
    (error) => { if (!ended) body.replaceChildren(h("p", { role: "alert" }, error.message)); });
  return { title: "About", draw() {}, end() { ended = true; } };
}
