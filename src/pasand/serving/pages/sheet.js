// The page of a film, over the page that it was opened from: what it is, why it stands where it stands, what is alike.

import * as api from "./api.js";
import { day, figure, h, icon, ordinal, worded } from "./dom.js";
import { known, learn } from "./films.js";
import { art, heading, paletteOf, poster, scriptOf } from "./poster.js";
import { card, hrefOf, metaOf } from "./rows.js";
import { wording } from "./say.js";
import * as viewer from "./viewer.js";

const TOLD = new Set(["title", "name", "language", "languages", "genre", "genres", "year"]);

// Fills the dialog; what is asked besides the film itself comes in as it arrives.
export async function draw(sheet, id, user, watch, close) {
  const told = await api.item(id);
  const film = api.film(told);
  const { ground, ink } = paletteOf(film);
  const why = h("section", { class: "why", "aria-label": "Why this film" });
  const alike = h("section", { class: "alike", "aria-label": "More like this" });
  const cover = h(
    "div",
    { class: "cover", vars: { "--ground": ground, "--ink": ink } },
    art(film),
    h(
      "div",
      { class: "words" },
      heading(film, { id: "sheet-title", tabindex: "-1" }),
      h("p", { class: "meta" }, scriptOf(film.language), metaOf(film)),
    ),
  );
  const act =
    user &&
    h(
      "button",
      {
        type: "button",
        class: "main",
        "aria-label": `Watch ${film.title || film.item}`,
        on: { click: () => watch(film) },
      },
      icon("play"),
      "Watch",
    );
  const shut = h(
    "button",
    { type: "button", class: "round shut", "aria-label": "Close", on: { click: close } },
    icon("close"),
  );
  sheet.replaceChildren(
    cover,
    shut,
    h("div", { class: "body" }, h("div", { class: "facts" }, act, facts(told)), why, alike),
  );
  sheet.scrollTop = 0;
  await Promise.all([user ? explained(why, id, user) : null, similar(alike, id, watch)]);
}

function facts({ features = {}, known_since: since }) {
  const pairs = Object.entries(features).filter(
    ([name, value]) => !TOLD.has(name) && name !== "available_from" && value != null && String(value) !== "",
  );
  const told = pairs.map(([name, value]) => [name === "minutes" ? "length" : name, wordsOf(name, value)]);
  const came = since ?? features.available_from;
  if (came) told.push(["here since", typeof came === "number" ? day(came) : String(came).slice(0, 10)]);
  return h(
    "dl",
    {},
    told.map(([name, value]) => h("div", {}, h("dt", {}, worded(name)), h("dd", {}, value))),
  );
}

function wordsOf(name, value) {
  if (Array.isArray(value)) return value.join(", ");
  if (name === "minutes") return `${Math.floor(value / 60)} h ${Math.round(value % 60)} min`;
  return typeof value === "number" && value > 1e9 ? day(value) : String(value);
}

async function explained(section, id, user) {
  const title = h("h3", {}, `Why this for ${viewer.nameOf(user)}`);
  try {
    const [told] = await Promise.all([api.explain(user, id), learn()]);
    section.replaceChildren(title, ...reasons(told));
  } catch (error) {
    section.replaceChildren(title, h("p", { class: "soft" }, wording(error)));
  }
}

function reasons(told) {
  const because = (told.because ?? []).slice(0, 6);
  const most = Math.max(...because.map(({ weight = 1 }) => Math.abs(weight)));
  const films = because.map((film) =>
    h(
      "li",
      {},
      h("a", { href: hrefOf(film) }, poster(known(film)), h("span", {}, film.title || film.item)),
      bar(film.weight, most),
    ),
  );
  return [
    h("p", { class: "verdict" }, verdict(told)),
    because.length > 0 && h("p", { class: "soft" }, "These films of the history speak for it:"),
    because.length > 0 && h("ul", { class: "because" }, films),
    path(told),
    ...(told.influences ?? []).map(influence),
  ].filter(Boolean);
}

function verdict({ rank, k, barred_by: barred = [], because = [], steps = [] }) {
  if (barred.length)
    return barred.includes("seen") || barred.includes("DropSeen")
      ? "Watched already, so it is not shown again."
      : `Kept out by ${barred.join(", ")}.`;
  if (rank)
    return `It stands ${ordinal(rank)} in the list${k ? ` of ${k}` : ""}${because.length ? "" : ", because it is popular"}.`;
  const last = steps.findLast((step) => step.rank);
  if (last) return `It came to place ${last.rank} of ${last.of ?? "all"}, behind the ${k ?? "films"} that are shown.`;
  return "None of the sources proposed it.";
}

function path({ sources = [], steps = [] }) {
  const line = (name, told) => h("li", {}, h("b", {}, name), told);
  const asked = sources.filter((one) => one.asked !== false);
  const proposed = asked.map(({ name, kind, rank, of, proposed: was }) =>
    line(
      kind ?? worded(name),
      !rank
        ? "did not propose it"
        : was === false
          ? `has it ${ordinal(rank)}, too far down`
          : `proposed it ${ordinal(rank)} of ${of}`,
    ),
  );
  const moved = steps.map(({ name, rank, of, score }) =>
    line(worded(name), rank ? `place ${rank} of ${of}, score ${figure(score)}` : "not in the list"),
  );
  return proposed.length + moved.length > 0 && h("ol", { class: "path" }, proposed, moved);
}

function influence({ name, kind, features = [] }) {
  const shown = features.slice(0, 5);
  const most = Math.max(...shown.map(({ contribution }) => Math.abs(contribution)));
  const lines = shown.map(({ feature, contribution }) =>
    h("li", {}, h("span", {}, worded(feature)), bar(contribution, most)),
  );
  return h(
    "div",
    { class: "influence" },
    h("p", { class: "soft" }, `What moved the score of ${worded(name)}${kind && kind !== name ? ` (${kind})` : ""}`),
    h("ul", {}, lines),
  );
}

function bar(value, most) {
  if (value == null) return null;
  const share = most ? Math.abs(value) / most : 0;
  return h(
    "span",
    { class: `bar${value < 0 ? " against" : ""}`, vars: { "--share": share.toFixed(3) } },
    h("i", { "aria-hidden": "true" }),
    h("small", {}, `${value > 0 ? "+" : ""}${figure(value)}`),
  );
}

async function similar(section, id, watch) {
  const [films] = await Promise.all([api.similar(id).catch(() => []), learn()]);
  if (!films.length) return;
  const list = h(
    "ul",
    { "aria-label": "More like this", "aria-describedby": "keys" },
    films.map((film) => card(known(film), watch)),
  );
  for (const part of list.firstElementChild.querySelectorAll(".press, .details")) part.tabIndex = 0;
  section.replaceChildren(h("h3", {}, "More like this"), list);
}
