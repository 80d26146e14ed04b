// A new visitor: languages, then three films, then a home.

import * as api from "./api.js";
import { $, h, icon } from "./dom.js";
import { metaOf } from "./rows.js";
import { poster, scriptOf } from "./poster.js";
import { aloud } from "./say.js";
import * as viewer from "./viewer.js";

const WANTED = 3;
const SHOWN = 24;

export const titleOf = () => "Somebody new";

export async function draw(main) {
  const about = await viewer.described();
  const state = { languages: new Set(), films: new Map(), search: "", asked: 0 };
  const parts = {
    found: h("ul", { class: "picks", "aria-label": "Films to choose from" }),
    tray: h("div", { class: "tray", role: "group", "aria-label": "Chosen films" }),
  };
  const show = () => list(state, parts);
  const search = h("input", { id: "find", type: "search", autocomplete: "off", placeholder: "Title of a film" });
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
      h("h1", { tabindex: "-1" }, "Welcome. What do you like?"),
      languages.length > 0 &&
        h(
          "fieldset",
          { class: "languages" },
          h("legend", {}, "Languages you watch in"),
          languages.map((one) => chip(one, state, show)),
        ),
      h("div", { class: "finder" }, h("label", { for: "find" }, "Three films you love"), search),
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

// Shows films of the chosen languages in turn, or those whose titles contain what was typed.
async function list(state, parts) {
  const asked = ++state.asked;
  const languages = state.languages.size ? [...state.languages] : [""];
  let answers;
  try {
    answers = await Promise.all(languages.map((language) => api.items({ search: state.search, language, k: SHOWN })));
  } catch {
    if (asked === state.asked)
      parts.found.replaceChildren(
        h("li", { class: "none" }, "The films cannot be asked for just now. Try again in a moment."),
      );
    return;
  }
  if (asked !== state.asked) return;
  const films = inTurn(answers).slice(0, SHOWN);
  parts.found.replaceChildren(...films.map((film) => pick(film, state, parts)));
  if (!films.length) parts.found.append(h("li", { class: "none" }, `No title contains “${state.search}”.`));
}

function inTurn(lists) {
  const longest = Math.max(...lists.map((one) => one.length));
  return Array.from({ length: longest }, (_, at) => lists.map((one) => one[at]))
    .flat()
    .filter(Boolean);
}

function pick(film, state, parts) {
  const title = film.title || film.item;
  const button = h(
    "button",
    {
      type: "button",
      class: "pick",
      "data-item": film.item,
      "aria-pressed": String(state.films.has(film.item)),
      "aria-label": `${title}. ${metaOf(film)}`,
    },
    poster(film),
    h("span", { class: "tick", "aria-hidden": "true" }, icon("check")),
  );
  button.addEventListener("click", () => choose(film, state, parts));
  return h("li", {}, button);
}

function choose(film, state, parts) {
  const gone = state.films.delete(film.item);
  if (!gone && state.films.size === WANTED) {
    aloud("Three films are chosen already; take one away first.");
    parts.tray.animate?.([{ translate: "0" }, { translate: "6px" }, { translate: "0" }], 180);
    return;
  }
  if (!gone) state.films.set(film.item, film);
  for (const one of parts.found.querySelectorAll(".pick"))
    one.setAttribute("aria-pressed", state.films.has(one.dataset.item));
  aloud(`${state.films.size} of ${WANTED} films chosen.`);
  tray(state, parts);
}

function tray(state, parts) {
  const films = [...state.films.values()];
  const slots = Array.from({ length: WANTED }, (_, at) => {
    const film = films[at];
    if (!film) return h("span", { class: "slot", "aria-hidden": "true" }, String(at + 1));
    const drop = () => {
      choose(film, state, parts);
      $("button", parts.tray)?.focus();
    };
    return h(
      "button",
      { type: "button", class: "slot full", "aria-label": `Take away ${film.title || film.item}`, on: { click: drop } },
      poster(film),
    );
  });
  const left = WANTED - films.length;
  const finish = h(
    "button",
    {
      type: "button",
      class: "main",
      "aria-disabled": String(left > 0),
      on: { click: () => left === 0 && enter(state) },
    },
    left ? `${left} more` : "Show my home",
  );
  parts.tray.replaceChildren(...slots, finish);
}

function enter(state) {
  const made = viewer.welcome([...state.languages], [...state.films.keys()]);
  location.hash = `#/u/${made.id}`;
}
