// The home of a viewer: the first film large, then rows; both follow every film that is watched.

import { $, h, icon, plural } from "./dom.js";
import { art, heading, paletteOf, scriptOf } from "./poster.js";
import { drawRows, hrefOf, metaOf } from "./rows.js";
import { aloud, tellDegraded } from "./say.js";
import * as viewer from "./viewer.js";

const AGAIN = 4000;
let catchingUp;

export const titleOf = (id) => `Home of ${viewer.nameOf(id)}`;

// Draws the page; returns a function that asks for the rows again and moves them.
export async function draw(main, id, watch) {
  const answer = await viewer.home(id);
  const stage = h("div", { class: "stage" });
  const rows = h("div", { class: "rows" });
  main.replaceChildren(h("h1", { class: "quiet", tabindex: "-1" }, titleOf(id)), stage, hint(id, answer), rows);
  fill(answer, stage, rows, watch, id);
  return async (film) => {
    const next = await viewer.home(id);
    const focus = stage.contains(document.activeElement);
    const fresh = fill(next, stage, rows, watch, id);
    if (focus) $(".main", stage)?.focus({ preventScroll: true });
    const [first] = next.rows?.[0]?.items ?? [];
    const now = first ? `; at the top now: ${first.title || first.item}` : "";
    aloud(`Watched ${film.title || film.item}. ${plural(fresh, "film")} came into the rows${now}.`);
  };
}

// Draws stage and rows, and returns how many cards were not there before.
function fill(answer, stage, rows, watch, id) {
  const [first, ...others] = answer.rows ?? [];
  const [top, ...more] = first?.items ?? [];
  if (top) drawStage(stage, top, watch, id);
  drawRows(rows, first ? [{ ...first, items: more }, ...others] : [], watch);
  tellDegraded(answer);
  clearTimeout(catchingUp);
  if (answer.degraded) catchingUp = setTimeout(catchUp, AGAIN, stage, rows, watch, id);
  if (!top) rows.replaceChildren(h("p", { class: "bare" }, "Nothing to show yet: the catalogue is empty."));
  return rows.querySelectorAll(".fresh").length;
}

// Asks for the rows again until they are made from everything that was watched, or another page is shown.
async function catchUp(stage, rows, watch, id) {
  if (!stage.isConnected) return;
  const next = await viewer.home(id).catch(() => null);
  if (!stage.isConnected) return;
  if (next) fill(next, stage, rows, watch, id);
  else catchingUp = setTimeout(catchUp, AGAIN, stage, rows, watch, id);
}

function drawStage(stage, film, watch, id) {
  if (stage.dataset.item === film.item) return;
  const { ground, ink, deep } = paletteOf(film);
  const title = film.title || film.item;
  const words = h(
    "div",
    { class: "words" },
    h("p", { class: "eyebrow" }, `First pick for ${viewer.nameOf(id)}`),
    heading(film),
    h("p", { class: "meta" }, scriptOf(film.language), metaOf(film)),
    film.reason && h("p", { class: "reason" }, film.reason),
    h(
      "p",
      { class: "doing" },
      h(
        "button",
        { type: "button", class: "main", "aria-label": `Watch ${title}`, on: { click: () => watch(film) } },
        icon("play"),
        "Watch",
      ),
      h("a", { class: "second", href: hrefOf(film), "aria-label": `About ${title}` }, icon("info"), "About"),
    ),
  );
  stage.dataset.item = film.item;
  for (const [name, value] of Object.entries({ "--ground": ground, "--ink": ink, "--deep": deep }))
    stage.style.setProperty(name, value);
  stage.replaceChildren(art(film), words);
}

function hint(id, answer) {
  const stranger = answer.known === false && !viewer.visitor(id);
  const told = stranger ? `${id} is new here, so this begins with what is popular. ` : "";
  const link = h("a", { href: `#/u/${encodeURIComponent(id)}/behind` }, "See what is behind the rows");
  return h("p", { class: "hint" }, told, "Press a poster to watch the film, and the rows follow. ", link);
}
