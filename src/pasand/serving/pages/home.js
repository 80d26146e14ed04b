// The home page of a viewer: the first recommendation large, then rows; both update after every watched film.

import { $, h, icon, plural } from "./dom.js";
import { announce, noticeDegraded } from "./messages.js";
import { art, heading, paletteOf, scriptOf } from "./poster.js";
import { drawRows, hrefOf, metaOf } from "./rows.js";
import * as viewer from "./viewer.js";

const RETRY_MS = 4000;
let retry;

export const titleOf = (id) => `Home of ${viewer.nameOf(id)}`;

// Draws the page; returns a function that loads the rows again and animates the changes.
export async function draw(main, id, watch) {
  const response = await viewer.home(id);
  const hero = h("div", { class: "hero" });
  const rows = h("div", { class: "rows" });
  main.replaceChildren(h("h1", { class: "quiet", tabindex: "-1" }, titleOf(id)), hero, hint(id, response), rows);
  fill(response, hero, rows, watch, id);
  return async (film) => {
    const next = await viewer.home(id);
    const focus = hero.contains(document.activeElement);
    const added = fill(next, hero, rows, watch, id);
    if (focus) $(".main", hero)?.focus({ preventScroll: true });
    const [first] = next.rows?.[0]?.items ?? [];
    const top = first ? `, and the first recommendation is ${first.title || first.item_id}` : "";
    announce(`Watched ${film.title || film.item_id}. The rows have ${plural(added, "new film")}${top}.`);
  };
}

// Draws the first film and the rows, and returns the number of new cards.
function fill(response, hero, rows, watch, id) {
  const [first, ...others] = response.rows ?? [];
  const [top, ...rest] = first?.items ?? [];
  if (top) drawHero(hero, top, watch, id);
  drawRows(rows, first ? [{ ...first, items: rest, above: true }, ...others] : [], watch);
  noticeDegraded(response);
  clearTimeout(retry);
  if (response.degraded) retry = setTimeout(reload, RETRY_MS, hero, rows, watch, id);
  if (!top) rows.replaceChildren(h("p", { class: "bare" }, "There is nothing to show yet: the catalogue is empty."));
  return rows.querySelectorAll(".fresh").length;
}

// Loads degraded rows again until they use all events, or another page is shown.
async function reload(hero, rows, watch, id) {
  if (!hero.isConnected) return;
  const next = await viewer.home(id).catch(() => null);
  if (!hero.isConnected) return;
  if (next) fill(next, hero, rows, watch, id);
  else retry = setTimeout(reload, RETRY_MS, hero, rows, watch, id);
}

function drawHero(hero, film, watch, id) {
  if (hero.dataset.item === film.item_id) return;
  const { ground, ink, deep } = paletteOf(film);
  const title = film.title || film.item_id;
  const words = h(
    "div",
    { class: "words" },
    h("p", { class: "eyebrow" }, `Top recommendation for ${viewer.nameOf(id)}`),
    heading(film),
    h("p", { class: "meta" }, scriptOf(film.language), metaOf(film)),
    film.reason && h("p", { class: "reason" }, film.reason),
    h(
      "p",
      { class: "actions" },
      h(
        "button",
        { type: "button", class: "main", "aria-label": `Watch ${title}`, on: { click: () => watch(film) } },
        icon("play"),
        "Watch",
      ),
      h("a", { class: "second", href: hrefOf(film), "aria-label": `About ${title}` }, icon("info"), "About"),
    ),
  );
  hero.dataset.item = film.item_id;
  for (const [name, value] of Object.entries({ "--ground": ground, "--ink": ink, "--deep": deep }))
    hero.style.setProperty(name, value);
  hero.replaceChildren(art(film), words);
}

function hint(id, response) {
  const unknown = response.known === false && !viewer.visitor(id);
  const text = unknown ? `${id} has not watched anything yet, so these are popular films. ` : "";
  const link = h("a", { href: `#/u/${encodeURIComponent(id)}/pipeline` }, "See how these films were chosen");
  return h("p", { class: "hint" }, text, "Click a poster to watch the film and update the recommendations. ", link);
}
