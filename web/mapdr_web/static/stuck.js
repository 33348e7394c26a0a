// Stuck: what is parked, by reason and with the cure, and what is held; retried, re-routed, dismissed, released.

import { ask, askAlone, confirmed, h, keep, query, say } from "./dom.js";
import { form } from "./forms.js";
import { count, many, short, when } from "./words.js";

const LISTED = 500;

export function stuck(main, session) {
  const body = h("div", { class: "alerts" });
  main.replaceChildren(h("h1", { class: "title" }, "Stuck"), body);
  const acts = session.role === "operator";
  let state = null, seen = "", ended = false;

  async function read() {
    let told;
    try {
      told = await askAlone("/stuck");
    } catch (error) {
      if (!ended) keep(body, [["trouble", error.message, trouble]]);
      return;
    }
    if (!ended) draw(told);
  }

  function draw(found) {
    const wanted = [
      ...found.parked.map((one) => [`parked ${one.reason}`, one, () => group(one.reason)]),
      ...found.destinations.map((one) => [`destination ${one.name}`, one, () => heldDestination(one.name)]),
      ...Object.entries(found.held).map(([name, number]) => [`held ${name}`, number, () => heldDeliveries(name)]),
      ...(found.unrouted ? [["unrouted", found.unrouted, unrouted]] : []),
    ];
    keep(body, wanted.length ? wanted : [["nothing", null, nothing]]);
  }

  /** A card: what it is, what that means, what cures it, and the buttons of who may act. */
  function card(level, shape, buttons, ...below) {
    const title = h("span"), aside = h("span", { class: "aside" });
    const meaning = h("p"), cure = h("span"), to = h("p", { class: "to" });
    const node = h("section", { class: "card group" },
      h("h2", {}, h("span", { class: level, "aria-hidden": "true" }, shape), title, aside),
      meaning, h("p", { class: "cure" }, h("b", {}, "Cure: "), cure), to,
      acts ? h("p", { class: "buttons" }, buttons) : null, ...below);
    return { node, tell(told) {
      title.textContent = told.title;
      aside.textContent = told.aside ?? "";
      meaning.textContent = told.meaning ?? "";
      meaning.hidden = !told.meaning;
      cure.textContent = told.cure;
      to.textContent = told.to ?? "";
      to.hidden = !told.to;
    } };
  }
  function trouble() {
    const node = h("p", { class: "quiet" });
    return { node, update(words) { node.textContent = words; } };
  }
  function nothing() {
    return { node: h("section", { class: "card" }, h("p", {}, h("b", { class: "good" }, "● Nothing is stuck."),
      " Nothing is parked, nothing is held, and a rule takes every image.")), update() {} };
  }

  const button = (text, what, first = false) =>
    h("button", { type: "button", class: first ? "first" : "", onclick: (event) => busy(event.currentTarget, what) }, text);
  async function busy(pressed, what) {
    pressed.disabled = true;
    try {
      await what();
    } catch (error) {
      say(`Nothing was done: ${error.message}`);
    } finally {
      pressed.disabled = false;
      await read();
      if (pressed.isConnected) pressed.focus();
      else if (!ended) main.focus();
    }
  }
  const where = (to) => Object.entries(to).map(([name, number]) => `${name} ${count(number)}`).join(", ");

  /** Says how many, asks, and does it. */
  async function act(verb, chosen, words) {
    const would = await ask(`/${verb}`, { ...chosen, dry_run: true });
    const number = would.deliveries;
    if (!number && !would.superseded) {
      say("There is nothing to do any more.");
      return;
    }
    const noun = many(number, "delivery", "deliveries");
    const more = [
      would.outdated ? `${count(would.outdated)} of them keep a recipe that today's rules no longer give.` : "",
      would.missing ? `${many(would.missing, "image")} are no longer kept.` : "",
      would.again ? `${count(would.again)} were delivered before.` : "",
    ].filter(Boolean).join(" ");
    const text = `${words.text} ${where(would.to)}. ${more}`;
    if (!await confirmed(words.title(noun), text, words.yes(noun))) return;
    const done = await ask(`/${verb}`, chosen);
    say(words.done(many(done.deliveries, "delivery", "deliveries")));
  }
  const retry = (chosen) => act("retry", chosen, {
    title: (noun) => `Try ${noun} again?`, text: "They are sent again now, as they were promised, to:",
    yes: (noun) => `Try ${noun} again`, done: (noun) => `${noun} will be tried again.`,
  });
  const reroute = (chosen) => act("reroute", chosen, {
    title: (noun) => `Let today's rules decide? ${noun}`, text: "Today's rules decide again, and promise to:",
    yes: (noun) => `Promise ${noun}`, done: (noun) => `${noun} promised by today's rules.`,
  });
  const dismiss = (chosen) => act("dismiss", chosen, {
    title: (noun) => `Dismiss ${noun}?`, text: "They end, and are never sent to:",
    yes: (noun) => `Dismiss ${noun}`, done: (noun) => `${noun} dismissed.`,
  });
  const release = (chosen) => act("release", chosen, {
    title: (noun) => `Release ${noun}?`, text: "They are sent as soon as it is their turn, to:",
    yes: (noun) => `Release ${noun}`, done: (noun) => `${noun} released.`,
  });

  function group(reason) {
    const chosen = { state: "parked", reason };
    const list = h("div", {}, h("p", { class: "dim" }, "…"));
    const details = h("details", { ontoggle: () => { if (details.open) listed(list, chosen); } },
      h("summary", {}, "Which studies"), list);
    const { node, tell } = card("bad", "▲", [button("Try again", () => retry(chosen), true),
      button("Re-route by today's rules", () => reroute(chosen)), button("Dismiss", () => dismiss(chosen))], details);
    let shown = 0;
    return { node, update(one) {
      const times = one.first_at === one.last_at ? when(one.first_at, state.at)
        : `${when(one.first_at, state.at)} to ${when(one.last_at, state.at)}`;
      tell({ title: `${many(one.deliveries, "delivery", "deliveries")} parked: ${reason}`, aside: times,
        cure: `${one.cure[0].toUpperCase()}${one.cure.slice(1)}.`, to: `to ${where(one.to)}` });
      if (details.open && shown !== one.deliveries) listed(list, chosen);
      shown = one.deliveries;
    } };
  }

  const CORRECTION = [
    { name: "tag", label: "Tag", hint: "By its keyword, such as AccessionNumber or PatientID." },
    { name: "value", label: "Right value", hint: "Empty: the tag goes out empty." },
  ];
  /** One value of a study's parked images, corrected on their way; what is kept here stays as it came. */
  function correct(place, chosen) {
    const made = form(`Correct ${short(chosen.study_instance_uid)} for ${chosen.destination}`, CORRECTION, { tag: "AccessionNumber", value: "" }, {
      more: "Who has corrected what is kept, and the audit is told.",
      does: "Send corrected",
      save: async (given) => {
        const asked = { ...chosen, corrections: [`${given.tag}=${given.value}`] };
        const would = await ask("/reroute", { ...asked, dry_run: true });
        const noun = many(would.deliveries, "delivery", "deliveries");
        if (!await confirmed(`Send ${noun} with another ${given.tag}?`, `Today's rules decide again, to: ${where(would.to)}.`, `Send ${noun}`)) return {};
        const done = await ask("/reroute", asked);
        say(`${many(done.deliveries, "delivery", "deliveries")} with the corrected ${given.tag} promised.`);
        place.replaceChildren();
        await read();
        return {};
      },
      cancel: () => place.replaceChildren(),
    });
    place.replaceChildren(made);
    made.querySelector("input").focus();
  }

  async function listed(place, chosen) {
    let rows;
    try {
      rows = (await query("/deliveries", { ...chosen, limit: LISTED })).deliveries;
    } catch (error) {
      place.replaceChildren(h("p", { class: "dim" }, error.message));
      return;
    }
    const groups = new Map();
    for (const row of rows) {
      const key = `${row.study_instance_uid} ${row.destination}`;
      const known = groups.get(key) ?? { ...row, images: 0 };
      known.images += 1;
      groups.set(key, known);
    }
    const head = ["study", "modality", "images", "to", "received", "the receiver's answer"], below = h("div");
    place.replaceChildren(
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Studies that are parked for this reason" },
        h("table", { class: "text" },
          h("thead", {}, h("tr", {}, head.map((word) => h("th", { scope: "col" }, word)), acts ? h("th", { scope: "col" }, h("span", { class: "skip" }, "action")) : null)),
          h("tbody", {}, [...groups.values()].map((row) => {
            const one = { ...chosen, study_instance_uid: row.study_instance_uid, destination: row.destination };
            return h("tr", {}, h("th", { scope: "row", class: "uid", title: row.study_instance_uid }, short(row.study_instance_uid)),
              h("td", {}, row.modality ?? "–"), h("td", {}, count(row.images)), h("td", {}, row.destination),
              h("td", {}, when(row.received_at, state.at)), h("td", {}, row.comment || row.last_comment || "–"),
              acts ? h("td", { class: "act" }, button("Try again", () => retry(one)), " ", h("button", { type: "button", onclick: () => correct(below, one) }, "Correct")) : null);
          })))),
      below,
      rows.length === LISTED ? h("p", { class: "dim" }, `The newest ${LISTED} deliveries are listed.`) : "");
  }

  function heldDestination(name) {
    const letGo = async () => {
      const path = `/destinations/${encodeURIComponent(name)}/release`;
      const would = await ask(path, { dry_run: true });
      const text = `${many(would.deliveries, "delivery waits", "deliveries wait")} for it: sent as soon as it is their turn.`;
      if (!await confirmed(`Release ${name}?`, text, `Release ${name}`)) return;
      await ask(path, {});
      say(`${name} is delivered to again.`);
    };
    const { node, tell } = card("warn", "■", button("Release", letGo, true));
    return { node, update(one) {
      tell({ title: `${name} is held`, aside: `since ${when(one.held_at, state.at)}`,
        meaning: "An operator holds this destination: nothing is sent there.",
        cure: `Release it; ${many(one.waiting, "delivery waits", "deliveries wait")} for that.` });
    } };
  }

  function heldDeliveries(name) {
    const chosen = { state: "held", destination: name };
    const { node, tell } = card("warn", "■", button("Release", () => release(chosen), true));
    return { node, update(number) {
      tell({ title: `${many(number, "delivery", "deliveries")} to ${name} on hold`,
        meaning: "Somebody held these deliveries alone; others go on.", cure: "Release them." });
    } };
  }

  function unrouted() {
    const { node, tell } = card("warn", "▲", button("Re-route by today's rules", () => reroute({ state: "unrouted" })));
    return { node, update(number) {
      tell({ title: `${many(number, "image")} unrouted`, meaning: "No rule takes them: they are kept here, and go nowhere.",
        cure: "Add a rule that takes them (mapdr explain shows what the rules ask of a file), reload, then re-route." });
    } };
  }

  return {
    title: "Stuck",
    draw(told) {
      state = told;
      const now = JSON.stringify([told.parked, told.unrouted, told.destinations.map((one) => [one.state === "held", one.held, one.parked_reasons])]);
      if (now !== seen) {
        seen = now;
        read();
      }
    },
    end() { ended = true; },
  };
}
