// The shell: who is signed in, which view is shown, and the node's state as it comes.

import { about } from "./about.js";
import { Refused, ask, askAlone, h, say, setToken, show } from "./dom.js";
import { forget, log, remember } from "./log.js";
import { overview } from "./overview.js";
import { reports } from "./reports.js";
import { rules } from "./rules.js";
import { settings } from "./settings.js";
import { stuck } from "./stuck.js";
import { image, studies, study } from "./studies.js";
import { clock, count, duration, size, stateOf, sum } from "./words.js";

// Path, the part of the menu that it stands under, and the view; what is in brackets is given to it.
const VIEWS = [
  [/^\/$/, "overview", overview], [/^\/stuck$/, "stuck", stuck], [/^\/studies$/, "studies", studies],
  [/^\/reports$/, "reports", reports], [/^\/log$/, "log", log], [/^\/rules$/, "rules", rules], [/^\/settings$/, "settings", settings],
  [/^\/about$/, "about", about],
  [/^\/studies\/([^/]+)$/, "studies", study], [/^\/images\/([^/]+)$/, "studies", image],
];
const SILENT = 6000; // milliseconds without a word after which the node is lost

const main = document.getElementById("main");
const lost = document.getElementById("lost");
const by = (id) => document.getElementById(id);
let session = null, view = null, stream = null, state = null, heard = 0, again = 0;

async function begin() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) {
    history.replaceState(null, "", location.pathname); // a used link is nothing to keep
    try {
      return signedIn(await ask("/session", { token }));
    } catch (error) {
      return signIn(error.message);
    }
  }
  try {
    const told = await ask("/session");
    if (told.user) signedIn(told);
    else signIn();
  } catch (error) {
    main.replaceChildren(h("p", { class: "quiet" }, `The node cannot be asked: ${error.message}. It is tried again.`));
    setTimeout(begin, 3000);
  }
}
addEventListener("hashchange", () => { if (location.hash.startsWith("#token=")) begin(); });

function signedIn(told) {
  session = told;
  setToken(told.csrf);
  for (const id of ["top", "bottom"]) by(id).hidden = false;
  by("node-name").textContent = told.mapdr.node;
  by("who").textContent = `${told.user} · ${told.role}`;
  open(location.pathname);
  listen();
}

function signIn(words = "") {
  stop();
  forget();
  session = null;
  for (const id of ["top", "bottom"]) by(id).hidden = true;
  document.title = "Sign in · MAPDR";
  const said = h("p", { class: "bad", role: "alert" }, words);
  const user = h("input", { name: "user", autocomplete: "username", required: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const button = h("button", { type: "submit", class: "first" }, "Sign in");
  const form = h("form", { class: "card sign-in", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      signedIn(await ask("/session", { user: user.value, password: password.value }));
    } catch (error) {
      said.textContent = error.message;
      button.disabled = false;
      password.select();
    }
  } }, h("h1", {}, "MAPDR"), said, h("label", {}, "User", user), h("label", {}, "Password", password), button,
  h("p", { class: "dim" }, "Without a password: ", h("code", {}, "mapdr web open"), " on the node's machine makes a link that signs in."));
  main.replaceChildren(form);
  user.focus();
}

by("sign-out").addEventListener("click", async () => {
  try {
    await ask("/session", undefined, "DELETE");
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 401) {
      say(`Not signed out: ${error.message}`);
      return;
    }
  }
  signIn();
});

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // no encoding of UTF-8: the view says that it finds nothing by it
  }
}

function open(path, focus = false) {
  const [pattern, name, make] = VIEWS.find(([each]) => each.test(path)) ?? VIEWS[0];
  view?.end();
  view = make(main, session, ...(path.match(pattern) ?? []).slice(1).map(decoded));
  document.title = `${view.title} · ${session.mapdr.node} · MAPDR`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (state) view.draw(state);
  if (focus) main.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || !session || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const address = link.getAttribute("href"), [path] = address.split("?");
  if (!VIEWS.some(([each]) => each.test(path))) return;
  event.preventDefault();
  history.pushState(null, "", address);
  open(path, true);
});
addEventListener("popstate", () => { if (session) open(location.pathname); });

function listen() {
  stop();
  heard = performance.now();
  stream = new EventSource("/api/v1/stream");
  stream.addEventListener("status", (event) => {
    heard = performance.now();
    told(JSON.parse(event.data));
  });
  stream.addEventListener("signed-out", () => signIn("Your session has ended."));
  stream.addEventListener("error", () => {
    if (stream?.readyState !== EventSource.CLOSED) return;
    clearTimeout(again);
    again = setTimeout(reconnect, 2000);
  });
}

async function reconnect() {
  if (!session) return;
  try {
    const told = await askAlone("/session");
    if (!told.user) {
      signIn("Your session has ended: the node was started again, or you were away for long.");
      return;
    }
    setToken(told.csrf);
    listen();
  } catch {
    clearTimeout(again);
    again = setTimeout(reconnect, 2000);
  }
}

function stop() {
  clearTimeout(again);
  stream?.close();
  stream = null;
  lost.hidden = true;
  document.body.classList.remove("is-lost");
}

setInterval(() => {
  if (!session) return;
  const silent = performance.now() - heard > SILENT;
  if (silent && lost.hidden) {
    lost.textContent = `▲ This page has lost the node ${session.mapdr.node}${
      state ? ` since ${clock(state.at)}: what stands below is from then` : ""}. It tries again by itself.`;
    if (stream) reconnect();
  }
  lost.hidden = !silent;
  document.body.classList.toggle("is-lost", silent);
}, 1000);

function told(found) {
  state = found;
  remember(found.events);
  const word = stateOf(found.node.state);
  const up = found.node.uptime_seconds;
  const alive = up !== null && found.node.state === "running" ? ` ${duration(up < 120 ? Math.floor(up / 10) * 10 : up)}` : "";
  show(by("node-state"), [word, alive], () => h("span", { class: `state ${word.level}` },
    h("span", { "aria-hidden": "true" }, word.shape), `${word.word}${alive}`));
  by("clock").textContent = clock(found.at);
  const stuckNow = found.parked + found.unrouted + sum(found.destinations.map((one) => one.held));
  by("stuck-count").hidden = !stuckNow;
  by("stuck-count").textContent = count(stuckNow);
  const disk = found.node.disk_free === null ? "free space unknown" : `${size(found.node.disk_free)} free`;
  const hooks = found.webhooks;
  show(by("bottom"), [disk, found.node.disk_step, hooks.pending, hooks.parked, found.node.durability, found.mapdr.version], () => [
    h("span", {}, `disk: ${disk}${found.node.disk_step && found.node.disk_step !== "enough" ? ` (${found.node.disk_step})` : ""}`),
    hooks.hooks.length ? h("span", {}, `webhooks: ${count(hooks.pending)} waiting, ${count(hooks.parked)} given up`) : null,
    h("span", {}, `durability: ${found.node.durability}`), h("a", { href: "/about" }, `About MAPDR ${found.mapdr.version}`)]);
  view?.draw(found);
}

begin();
