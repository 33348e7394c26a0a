// Webhooks: how each stands, its last answer and messages, and a test of it.

import { ask, askAlone, confirmed, h, query, say } from "./dom.js";
import { count, many, when } from "./words.js";

/** A card that reads how they stand; `now` gives the node's time. */
export function hooks(acts, now) {
  const place = h("div", {}, h("p", { class: "quiet" }, "…"));
  const below = h("div");
  const node = h("section", { class: "card" }, h("h2", {}, "Webhooks"), place, below);
  let ended = false;

  async function read() {
    let rows;
    try {
      rows = (await askAlone("/webhooks")).webhooks;
    } catch (error) {
      if (!ended) place.replaceChildren(h("p", { class: "dim" }, error.message));
      return;
    }
    if (ended) return;
    place.replaceChildren(rows.length ? table(rows) : h("p", { class: "dim" }, "There is none: nobody is told what happens."));
  }

  function table(rows) {
    const head = ["name", "waiting", "given up", "taken", "last answer"];
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Webhooks" }, h("table", { class: "text" },
      h("thead", {}, h("tr", {}, [...head, ""].map((word) => h("th", { scope: "col" }, word || h("span", { class: "skip" }, "action"))))),
      h("tbody", {}, rows.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, count(one.pending)), h("td", { class: one.parked ? "bad" : "" }, one.parked ? `▲ ${count(one.parked)}` : "0"),
        h("td", {}, count(one.delivered)), h("td", {}, answer(one)), h("td", { class: "act" }, buttons(one)))))));
  }

  function answer(one) {
    if (!one.configured) return "not configured any more: nobody sends its messages";
    if (!one.tried_at) return "none yet";
    const next = one.next_try_at ? `; next try ${when(one.next_try_at, now())}` : "";
    return one.comment ? h("span", { class: "warn" }, `▲ ${one.comment}, ${when(one.tried_at, now())}${next}`) : `● ${one.status}, ${when(one.tried_at, now())}`;
  }

  function buttons(one) {
    const made = [button("Messages", one, showMessages)];
    if (acts && one.configured) {
      made.unshift(button("Test", one, test));
      if (one.parked) made.unshift(button("Send again", one, sendAgain));
    }
    return made.flatMap((each) => [each, " "]);
  }
  const button = (word, one, what) => h("button", { type: "button", "aria-label": `${word}: ${one.name}`, onclick: async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    try {
      await what(one);
    } catch (error) {
      say(error.message);
    } finally {
      pressed.disabled = false;
    }
  } }, word);
  const path = (one) => `/webhooks/${encodeURIComponent(one.name)}`;

  async function test(one) {
    const tried = await ask(`${path(one)}/test`, {});
    const took = `in ${Math.round(tried.milliseconds)} ms`;
    below.replaceChildren(h("p", { role: "status" }, tried.taken ? `● ${one.name} took an example of ${tried.event} (${tried.status}), ${took}.`
      : h("span", { class: "bad" }, `▲ ${one.name} did not take an example of ${tried.event}: ${tried.comment}, ${took}.`)));
  }

  async function sendAgain(one) {
    const would = await ask(`${path(one)}/replay`, { dry_run: true });
    if (!await confirmed(`Send ${many(would.messages, "message")} to ${one.name} again?`, "Those that were given up go out again as they were.", "Send again")) return;
    const done = await ask(`${path(one)}/replay`, {});
    say(`${many(done.messages, "message")} ${done.messages === 1 ? "goes" : "go"} to ${one.name} again.`);
    await read();
  }

  async function showMessages(one) {
    const found = (await query(`${path(one)}/messages`, {})).messages;
    const rows = found.map((each) => h("details", {}, h("summary", {}, `${when(each.created_at, now())} ${each.event}: ${STATES[each.state]}`,
      each.comment ? `, ${each.comment}` : each.status ? `, ${each.status}` : ""),
    h("pre", { class: "scroll text", tabindex: "0", role: "region", "aria-label": `Message ${each.id}` }, each.body ? JSON.stringify(each.body, null, 2) : "What it says is not shown: the webhook is not configured any more.")));
    below.replaceChildren(h("h3", {}, `The last messages to ${one.name}`), ...(rows.length ? rows : [h("p", { class: "dim" }, "There is none.")]));
  }

  read();
  return { node, end() { ended = true; } };
}

const STATES = { pending: "○ waits", leased: "○ on its way", parked: "▲ given up", delivered: "● taken" };
