// What a first start asks, or why the page cannot be opened.

import { requestCode, sentence, takeFile } from "./license.js";

const by = (id) => document.getElementById(id);
const TEXTS = ["ae_title", "pacs_host", "pacs_ae_title"], NUMBERS = ["port", "pacs_port"];
const FIELDS = ["ae_title", "port", "pacs_host", "pacs_port", "pacs_ae_title", "ratio", "token"]; // as they stand on the page
const compress = () => document.querySelector("input[name=compress]:checked").value;

class Refused extends Error {
  constructor(words, field = "") {
    super(words);
    this.field = field;
  }
}

/** What the program answers. Throws Refused with its words. */
async function ask(path, body = {}) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Refused("MAPDR does not answer; start it again");
  }
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(told.error ?? `the answer is ${answer.status}`, told.field);
  return told;
}

function given() {
  const number = (id) => (/^\d{1,9}$/.test(by(id).value.trim()) ? Number(by(id).value) : null);
  return {
    ...Object.fromEntries(TEXTS.map((id) => [id, by(id).value.trim()])),
    ...Object.fromEntries(NUMBERS.map((id) => [id, number(id)])),
    compress: compress(), ratio: Number(by("ratio").value), token: by("token").value.trim(),
  };
}

function tell(id, text, good = false) {
  const place = by(`${id}-said`);
  place.textContent = text ? `${good ? "✓" : "▲"} ${text}` : "";
  place.className = good ? "good" : "bad";
  if (!good && text) by(id).setAttribute("aria-invalid", "true");
  else by(id).removeAttribute("aria-invalid");
}

/** Say each problem at its field, and go to the first; what is about no field is said at `place`. */
function show(problems, place) {
  const others = [], wrong = [];
  for (const { field, what, cure } of problems) {
    const text = `${what}${cure ? `; ${cure}` : ""}`;
    if (FIELDS.includes(field)) {
      tell(field, text);
      wrong.push(field);
    } else others.push(text);
  }
  place.textContent = others.map((text) => `▲ ${text}`).join(" ");
  place.className = "bad";
  const first = FIELDS.find((field) => wrong.includes(field));
  if (first) by(first).focus();
}

function clear() {
  for (const id of FIELDS) if (id !== "port") tell(id, "");
}

function repeat(told) {
  by("call-title").textContent = by("ae_title").value.trim() || "–";
  by("call-address").textContent = told.addresses.join(" or ") || "this computer has no network address now";
  by("call-port").textContent = by("port").value.trim() || "–";
}

async function portIsFree() {
  try {
    const { trouble } = await ask("port", { port: given().port });
    tell("port", trouble || "free", !trouble);
  } catch (error) {
    tell("port", error.message);
  }
}

/** Run `what` with the buttons off; what is refused is said at `place`. */
async function run(place, what) {
  clear();
  place.className = "dim";
  place.textContent = "…";
  const buttons = document.querySelectorAll("button");
  for (const each of buttons) each.disabled = true;
  try {
    await what();
  } catch (error) {
    show([{ field: error.field, what: error.message, cure: "" }], place);
  } finally {
    for (const each of buttons) each.disabled = false;
  }
}

async function echo() {
  const place = by("echo-said");
  await run(place, async () => {
    place.textContent = "Asking…";
    const told = await ask("echo", given());
    if (!told.echo) return show(told.problems, place);
    place.className = told.echo.there ? "good" : "bad";
    place.textContent = told.echo.there ? `✓ The PACS answers, in ${Math.round(told.echo.milliseconds)} ms.` : `▲ ${told.echo.comment}`;
  });
}

async function finish() {
  const place = by("said");
  await run(place, async () => {
    place.textContent = "Saving, and starting the node…";
    let told;
    try {
      told = await ask("finish", given());
    } catch (error) {
      const now = await ask("first");
      if (now.is_new) throw error;
      return begin(); // it is written, and the node did not start
    }
    if (told.problems) show(told.problems, place);
    else location.replace(told.url);
  });
}

async function again() {
  await run(by("again-said"), async () => location.replace((await ask("open")).url));
}

async function showRequest() {
  const place = by("request-said");
  await run(place, async () => {
    by("license-code").replaceChildren(requestCode(await ask("request")));
    by("token").focus({ preventScroll: true }); // the button is gone
  });
}

async function begin() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (token) {
      history.replaceState(null, "", location.pathname);
      await ask("session", { token });
    }
    const told = await ask("first");
    by("version").textContent = told.version;
    for (const each of document.querySelectorAll(".file")) each.textContent = told.file;
    by("why").textContent = told.trouble;
    by("loading").hidden = true;
    by("first").hidden = !told.is_new;
    by("trouble").hidden = told.is_new;
    if (!told.is_new) return;
    for (const id of ["ae_title", "port"]) by(id).addEventListener("input", () => repeat(told));
    repeat(told);
    portIsFree();
    by("license").hidden = told.license.state === "unneeded";
    by("license-stands").replaceChildren(...sentence(told.license));
  } catch (error) {
    by("loading").textContent = error.message;
  }
}

by("port").addEventListener("change", portIsFree);
by("echo").addEventListener("click", echo);
by("request").addEventListener("click", showRequest);
by("token-file").addEventListener("change", () => takeFile(by("token-file").files[0], by("token"), (text) => tell("token", text)));
by("again").addEventListener("click", again);
for (const each of document.querySelectorAll("input[name=compress]")) {
  each.addEventListener("change", () => { by("ratio-field").hidden = compress() !== "lossy"; });
}
by("first").addEventListener("submit", (event) => {
  event.preventDefault();
  finish();
});
addEventListener("hashchange", begin);
begin();
