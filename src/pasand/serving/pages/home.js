// The home page of a viewer: the first recommendation large, then rows; both update after every event.

import { mark } from "./actions.js";
import { $, h, icon } from "./dom.js";
import { announce, noticeDegraded } from "./messages.js";
import { art, heading, paletteOf, scriptOf } from "./poster.js";
import { drawRows, hrefOf, metaOf } from "./rows.js";
import * as viewer from "./viewer.js";
import { aNoun, nItems, words } from "./words.js";

const RETRY_MS = 4000;
let retry;

export const titleOf = (id) => `Home of ${viewer.nameOf(id)}`;

// Draws the page; returns a function that loads the rows again and animates the changes.
export async function draw(main, id) {
  const response = await viewer.home(id);
  const hero = h("div", { class: "hero" });
  const rows = h("div", { class: "rows" });
  main.replaceChildren(h("h1", { class: "quiet", tabindex: "-1" }, titleOf(id)), hero, hint(id, response), rows);
  fill(response, hero, rows, id);
  return async (text) => {
    const next = await viewer.home(id);
    const focus = hero.contains(document.activeElement);
    const added = fill(next, hero, rows, id);
    if (focus) $(".main", hero)?.focus({ preventScroll: true });
    const [first] = next.rows?.[0]?.items ?? [];
    const top = first ? `, and the first recommendation is ${first.title || first.item_id}` : "";
    announce(`${text}. The rows have ${nItems(added, "new")}${top}.`);
  };
}

// Draws the first item large and the rows, and returns the number of new cards.
function fill(response, hero, rows, id) {
  const [first, ...others] = response.rows ?? [];
  const [top, ...rest] = first?.items ?? [];
  if (top) drawHero(hero, top, id);
  drawRows(rows, first ? [{ ...first, items: rest, above: true }, ...others] : []);
  noticeDegraded(response);
  clearTimeout(retry);
  if (response.degraded) retry = setTimeout(reload, RETRY_MS, hero, rows, id);
  if (!top) rows.replaceChildren(h("p", { class: "bare" }, "There is nothing to show yet: the catalogue is empty."));
  return rows.querySelectorAll(".fresh").length;
}

// Loads degraded rows again until they use all events, or another page is shown.
async function reload(hero, rows, id) {
  if (!hero.isConnected) return;
  const next = await viewer.home(id).catch(() => null);
  if (!hero.isConnected) return;
  if (next) fill(next, hero, rows, id);
  else retry = setTimeout(reload, RETRY_MS, hero, rows, id);
}

function drawHero(hero, film, id) {
  if (hero.dataset.item === film.item_id) return;
  const { ground, ink, deep } = paletteOf(film);
  const title = film.title || film.item_id;
  const lines = h(
    "div",
    { class: "words" },
    h("p", { class: "eyebrow" }, `Top recommendation for ${viewer.nameOf(id)}`),
    heading(film),
    h("p", { class: "meta" }, scriptOf(film.language), metaOf(film)),
    film.reason && h("p", { class: "reason" }, film.reason),
    h(
      "p",
      { class: "actions" },
      h("a", { class: "main", href: hrefOf(film), "aria-label": `Open ${title}` }, icon("info"), "Open"),
      h(
        "button",
        {
          type: "button",
          class: "second",
          "aria-label": `Mark as ${words.done}: ${title}`,
          on: { click: () => mark(film) },
        },
        icon("check"),
        `Mark as ${words.done}`,
      ),
    ),
  );
  hero.dataset.item = film.item_id;
  for (const [name, value] of Object.entries({ "--ground": ground, "--ink": ink, "--deep": deep }))
    hero.style.setProperty(name, value);
  hero.replaceChildren(art(film), lines);
}

function hint(id, response) {
  const unknown = response.known === false && !viewer.visitor(id);
  const text = unknown ? `${id} has no history yet, so these are popular ${words.plural}. ` : "";
  const link = h("a", { href: `#/u/${encodeURIComponent(id)}/pipeline` }, `See how these ${words.plural} were chosen`);
  const help = `Open ${aNoun()} by its picture, or mark it as ${words.done} with the tick below: the rows change at once. `;
  return h("p", { class: "hint" }, text, help, link);
}
