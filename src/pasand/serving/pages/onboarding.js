// The page for a new visitor: choose languages, then three items, then see recommendations.

import * as api from "./api.js";
import { $, h, icon } from "./dom.js";
import { announce } from "./messages.js";
import { poster, scriptOf } from "./poster.js";
import { metaOf } from "./rows.js";
import * as viewer from "./viewer.js";
import { aNoun, capital, words } from "./words.js";

const WANTED = 3;
const SHOWN = 24;

export const titleOf = () => "New visitor";

export async function draw(main) {
  const about = await viewer.serviceInfo();
  const state = { languages: new Set(), films: new Map(), search: "", requests: 0 };
  const parts = {
    found: h("ul", { class: "picks", "aria-label": `${capital(words.plural)} to choose from` }),
    tray: h("div", { class: "tray", role: "group", "aria-label": `Chosen ${words.plural}` }),
  };
  const show = () => list(state, parts);
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
          languages.map((language) => chip(language, state, show)),
        ),
      h("div", { class: "finder" }, h("label", { for: "find" }, `Three ${words.plural} you like`), search),
      parts.found,
      parts.tray,
    ),
  );
  tray(state, parts);
  await show();
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
    { type: "button", class: "chip", "aria-pressed": "false", on: { click: toggle } },
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
  search ? api.items({ search, language, k: SHOWN }) : api.onboarding({ languages: language ? [language] : [], k: SHOWN });

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
  if (!removed && state.films.size === WANTED) {
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
  const slots = Array.from({ length: WANTED }, (_, at) => {
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
  const missing = WANTED - films.length;
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

function enter(state) {
  const added = viewer.addVisitor([...state.languages], [...state.films.keys()]);
  location.hash = `#/u/${added.id}`;
}
