// Elements, drawn anew only where what they show has changed; and the way to the node's API.

export function h(tag, about = {}, ...inner) {
  const made = document.createElement(tag);
  fill(made, about);
  made.append(...inner.flat(3).filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";
export function s(tag, about = {}, ...inner) {
  const made = document.createElementNS(SVG, tag);
  fill(made, about);
  made.append(...inner);
  return made;
}

function fill(made, about) {
  for (const [name, value] of Object.entries(about)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
}

/** Fills `place` by `draw(value)` if `value` is another one than last time: nothing moves that did not change. */
export function show(place, value, draw) {
  const text = JSON.stringify(value);
  if (place.shown === text) return;
  place.shown = text;
  place.replaceChildren(...[draw(value)].flat(3).filter(Boolean));
}

/**
 * Fills `place` by cards that stay the same elements as long as their key is wanted: what has the focus keeps it,
 * what is open stays open. `wanted` is [key, value, make]; `make()` gives { node, update(value) }.
 */
export function keep(place, wanted) {
  const known = (place.kept ??= new Map());
  const nodes = wanted.map(([key, value, make]) => {
    if (!known.has(key)) known.set(key, make());
    known.get(key).update(value);
    return known.get(key).node;
  });
  const keys = new Set(wanted.map(([key]) => key));
  for (const key of [...known.keys()]) if (!keys.has(key)) known.delete(key);
  const stays = place.children.length === nodes.length && nodes.every((each, index) => place.children[index] === each);
  if (!stays) place.replaceChildren(...nodes);
}

export class Refused extends Error {
  constructor(status, words, field = "") {
    super(words);
    this.status = status;
    this.field = field;
  }
}

let csrf = "";
export function setToken(token) {
  csrf = token;
}

/** What the node answers; `body` makes it a POST. Throws Refused with its words. */
export function ask(path, body = undefined, method = body === undefined ? "GET" : "POST", more = {}) {
  return sent(path, method, body === undefined ? undefined : JSON.stringify(body),
    body === undefined ? more : { "content-type": "application/json", ...more });
}

/** What the node answers to a file. */
export function askFile(path, file) {
  return sent(path, "POST", file, { "content-type": "application/dicom" });
}

async function sent(path, method, body, more) {
  const headers = { accept: "application/json", ...more };
  if (method !== "GET") headers["x-csrf-token"] = csrf;
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, { method, headers, body, credentials: "same-origin" });
  } catch {
    throw new Refused(0, "the node does not answer");
  }
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, told.error ?? `the node answered ${answer.status}`, told.field);
  return told;
}

/** The same for what the page asks by itself: it keeps nobody signed in. */
export function askAlone(path) {
  return ask(path, undefined, "GET", { "x-unattended": "1" });
}

export function query(path, given) {
  return ask(`${path}?${new URLSearchParams(given)}`);
}

let saying = 0;
/** A short word at the foot of the page, which a screen reader reads. */
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  clearTimeout(saying);
  saying = setTimeout(() => { place.textContent = ""; }, 7000);
}

/** Whether the person says yes. */
export function confirmed(title, text, yes) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  document.getElementById("ask-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
