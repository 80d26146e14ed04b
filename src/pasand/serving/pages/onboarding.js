// The page for a new visitor: choose languages, rate what the responses so far suggest, choose items, see recommendations.

import * as api from "./api.js";
import { $, h, icon } from "./dom.js";
import { announce, messageOf, notice } from "./messages.js";
import { poster, scriptOf } from "./poster.js";
import { metaOf } from "./rows.js";
import { drawStep, isLanguage, STEPS } from "./onboarding-steps.js";
import * as viewer from "./viewer.js";
import { aNoun, capital, words } from "./words.js";

const WANTED = 3;
const SHOWN = 24;

export const titleOf = () => "New visitor";

export async function draw(main) {
  const about = await viewer.serviceInfo();
  const state = {
    languages: new Set(),
    films: new Map(),
    rejected: new Set(),
    skipped: new Set(),
    values: [],
    nRated: 0,
    lowest: (about.ratings ?? [])[0],
    search: "",
    requests: 0,
  };
  const parts = {
    step: h("section", { class: "step", "aria-label": "Rate what you know", hidden: true }),
    found: h("ul", { class: "picks", "aria-label": `${capital(words.plural)} to choose from` }),
    tray: h("div", { class: "tray", role: "group", "aria-label": `Chosen ${words.plural}` }),
  };
  const show = () => list(state, parts);
  const step = (focus) => drawStep(state, parts.step, focus, (what, liked) => rated(what, liked));
  const rated = (what, liked) => {
    respond(state, parts, what, liked);
    return step(true);
  };
  const search = h("input", { id: "find", type: "search", autocomplete: "off", placeholder: `Title of ${aNoun()}` });
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      state.search = search.value.trim();
      show();
    }, 180);
  });
  const languages = about.languages ?? [];
  main.replaceChildren(
    h(
      "div",
      { class: "new" },
      h("h1", { tabindex: "-1" }, `Welcome. What do you like to ${words.verb}?`),
      languages.length > 0 &&
        h(
          "fieldset",
          { class: "languages" },
          h("legend", {}, "Languages you like"),
          languages.map((language) => chip(language, state, () => Promise.all([show(), step(false)]))),
        ),
      parts.step,
      h("div", { class: "finder" }, h("label", { for: "find" }, `Three ${words.plural} you like`), search),
      parts.found,
      parts.tray,
    ),
  );
  tray(state, parts);
  await Promise.all([show(), step(false)]);
}

// Keeps a response to an item or to a value of a feature: true, false, or null for unknown or no preference.
function respond(state, parts, { film, value }, liked) {
  state.nRated += 1;
  if (value) state.values.push({ ...value, liked });
  if (value && liked && isLanguage(value.feature)) state.languages.add(value.value);
  if (film && liked) state.films.set(film.item_id, film);
  if (film && liked === false) state.rejected.add(film.item_id);
  if (film && liked === null) state.skipped.add(film.item_id);
  for (const each of document.querySelectorAll(".chip"))
    each.setAttribute("aria-pressed", state.languages.has(each.dataset.language));
  for (const button of parts.found.querySelectorAll(".pick"))
    button.setAttribute("aria-pressed", state.films.has(button.dataset.item));
  announce(`${state.nRated} of ${STEPS} rated.`);
  tray(state, parts);
}

function chip(language, state, show) {
  const toggle = ({ currentTarget }) => {
    const on = !state.languages.delete(language);
    if (on) state.languages.add(language);
    currentTarget.setAttribute("aria-pressed", on);
    show();
  };
  return h(
    "button",
    { type: "button", class: "chip", "data-language": language, "aria-pressed": "false", on: { click: toggle } },
    scriptOf(language),
    language,
  );
}

// Shows films of the chosen languages in turn, or those that the search text finds.
async function list(state, parts) {
  const number = ++state.requests;
  const languages = state.languages.size ? [...state.languages] : [""];
  let lists;
  try {
    lists = await Promise.all(languages.map((language) => offered(state.search, language)));
  } catch {
    if (number === state.requests)
      parts.found.replaceChildren(
        h("li", { class: "none" }, `The ${words.plural} could not be loaded. Please try again shortly.`),
      );
    return;
  }
  if (number !== state.requests) return;
  const films = interleaved(lists).slice(0, SHOWN);
  parts.found.replaceChildren(...films.map((film) => pick(film, state, parts)));
  if (!films.length) parts.found.append(h("li", { class: "none" }, `Nothing was found for “${state.search}”.`));
}

const offered = (search, language) =>
  search
    ? api.items({ search, language, k: SHOWN })
    : api.onboarding({ languages: language ? [language] : [], k: SHOWN }).then(({ films }) => films);

function interleaved(lists) {
  const longest = Math.max(...lists.map((each) => each.length));
  return Array.from({ length: longest }, (_, at) => lists.map((each) => each[at]))
    .flat()
    .filter(Boolean);
}

function pick(film, state, parts) {
  const title = film.title || film.item_id;
  const button = h(
    "button",
    {
      type: "button",
      class: "pick",
      "data-item": film.item_id,
      "aria-pressed": String(state.films.has(film.item_id)),
      "aria-label": `${title}. ${metaOf(film)}`,
    },
    poster(film),
    h("span", { class: "tick", "aria-hidden": "true" }, icon("check")),
  );
  button.addEventListener("click", () => choose(film, state, parts));
  return h("li", {}, button);
}

function choose(film, state, parts) {
  const removed = state.films.delete(film.item_id);
  if (!removed && state.films.size >= WANTED) {
    announce(`Three ${words.plural} are chosen already. Remove one first.`);
    parts.tray.animate?.([{ translate: "0" }, { translate: "6px" }, { translate: "0" }], 180);
    return;
  }
  if (!removed) state.films.set(film.item_id, film);
  for (const button of parts.found.querySelectorAll(".pick"))
    button.setAttribute("aria-pressed", state.films.has(button.dataset.item));
  announce(`${state.films.size} of ${WANTED} ${words.plural} chosen.`);
  tray(state, parts);
}

function tray(state, parts) {
  const films = [...state.films.values()];
  const slots = Array.from({ length: Math.max(WANTED, films.length) }, (_, at) => {
    const film = films[at];
    if (!film) return h("span", { class: "slot", "aria-hidden": "true" }, String(at + 1));
    const remove = () => {
      choose(film, state, parts);
      $("button", parts.tray)?.focus();
    };
    return h(
      "button",
      { type: "button", class: "slot full", "aria-label": `Remove ${film.title || film.item_id}`, on: { click: remove } },
      poster(film),
    );
  });
  const missing = Math.max(0, Math.min(WANTED - films.length, STEPS - state.nRated));
  const finish = h(
    "button",
    {
      type: "button",
      class: "main",
      "aria-disabled": String(missing > 0),
      on: { click: () => missing === 0 && enter(state) },
    },
    missing ? `Choose ${missing} more` : "Show recommendations",
  );
  parts.tray.replaceChildren(...slots, finish);
}

// Opens the home page of the visitor; items that are not for them are stored first, so that no list has them.
async function enter(state) {
  const liked = {};
  for (const { feature, value, liked: likes } of state.values)
    if (likes && !isLanguage(feature)) (liked[feature] ??= []).push(value);
  const added = viewer.addVisitor([...state.languages], [...state.films.keys()], [...state.rejected], liked);
  try {
    if (state.rejected.size) await viewer.storePending(added);
    location.hash = `#/u/${added.id}`;
  } catch (error) {
    notice(messageOf(error));
  }
}
