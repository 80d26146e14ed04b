// The dialog about an item: its features, what a viewer can do with it, why it is recommended, and similar ones.

import { buttons } from "./actions.js";
import * as api from "./api.js";
import { completed, load } from "./catalogue.js";
import { amount, day, figure, h, icon, ordinal, readable } from "./dom.js";
import { messageOf } from "./messages.js";
import { art, heading, paletteOf, poster, scriptOf } from "./poster.js";
import { card, hrefOf, metaOf } from "./rows.js";
import * as viewer from "./viewer.js";
import { words } from "./words.js";

const IN_COVER = new Set(["title", "name", "language", "languages", "genre", "genres", "year"]);

// Fills the dialog with the film; explanation and similar films follow when their responses arrive.
export async function draw(dialog, id, userId, close) {
  const [item, about] = await Promise.all([api.item(id), viewer.serviceInfo()]);
  const film = api.film(item);
  const { ground, ink } = paletteOf(film);
  const why = h("section", { class: "why", "aria-label": `Why this ${words.noun}` });
  const alike = h("section", { class: "similar", "aria-label": `Similar ${words.plural}` });
  const cover = h(
    "div",
    { class: "cover", vars: { "--ground": ground, "--ink": ink } },
    art(film),
    h(
      "div",
      { class: "words" },
      heading(film, { id: "film-title", tabindex: "-1" }),
      h("p", { class: "meta" }, scriptOf(film.language), metaOf(film)),
    ),
  );
  const closeButton = h(
    "button",
    { type: "button", class: "round close-button", "aria-label": "Close", on: { click: close } },
    icon("close"),
  );
  dialog.replaceChildren(
    cover,
    closeButton,
    h("div", { class: "body" }, h("div", { class: "facts" }, userId && buttons(film, about.ratings), facts(item)), why, alike),
  );
  dialog.scrollTop = 0;
  await Promise.all([userId ? drawExplanation(why, id, userId) : null, drawSimilar(alike, id)]);
}

function facts({ features = {} }) {
  const pairs = Object.entries(features).filter(
    ([name, value]) => !IN_COVER.has(name) && name !== "available_from" && value != null && String(value) !== "",
  );
  const lines = pairs.map(([name, value]) => [name === "minutes" ? "length" : name, textOf(name, value)]);
  const added = features.available_from;
  if (added) lines.push(["added", typeof added === "number" ? day(added) : String(added).slice(0, 10)]);
  return h(
    "dl",
    {},
    lines.map(([name, value]) => h("div", {}, h("dt", {}, readable(name)), h("dd", {}, value))),
  );
}

function textOf(name, value) {
  if (Array.isArray(value)) return value.join(", ");
  if (name === "price" && typeof value === "number") return amount(value);
  if (name === "minutes") return `${Math.floor(value / 60)} h ${Math.round(value % 60)} min`;
  return typeof value === "number" && value > 1e9 ? day(value) : String(value);
}

async function drawExplanation(section, id, userId) {
  const title = h("h3", {}, `Why this ${words.noun}?`);
  try {
    const [explanation] = await Promise.all([api.explain(userId, id), load()]);
    section.replaceChildren(title, ...parts(explanation));
  } catch (error) {
    section.replaceChildren(title, h("p", { class: "soft" }, messageOf(error)));
  }
}

function parts(explanation) {
  const reason = (explanation.reason ?? []).slice(0, 6);
  const most = Math.max(...reason.map(({ weight = 1 }) => Math.abs(weight)));
  const films = reason.map((film) =>
    h(
      "li",
      {},
      h("a", { href: hrefOf(film) }, poster(completed(film)), h("span", {}, film.title || film.item_id)),
      bar(film.weight, most),
    ),
  );
  const shared = matches(explanation);
  return [
    h("p", { class: "verdict" }, verdict(explanation, shared.length > 0)),
    ...(explanation.moves ?? []).map(({ text }) => h("p", { class: "soft move" }, sentence(text))),
    reason.length > 0 && h("p", { class: "soft" }, `Because you ${words.past}:`),
    reason.length > 0 && h("ul", { class: "reasons" }, films),
    shared.length > 0 && h("p", { class: "soft matches" }, `What it shares with what you ${words.past}: ${shared.join(", ")}.`),
    behind(path(explanation), (explanation.influences ?? []).map(influence)),
  ].filter(Boolean);
}

// Returns the features of the item that raise its score because the viewer's items have them, such as "genre: Drama".
function matches({ influences = [] }) {
  const features = influences.find(({ method }) => method === "matches")?.features ?? [];
  return features
    .filter(({ contribution }) => contribution > 0)
    .slice(0, 4)
    .map(({ feature }) => readable(feature));
}

// Returns the figures of the models behind a switch.
function behind(...children) {
  const shown = children.flat().filter(Boolean);
  return shown.length > 0 && h("details", {}, h("summary", {}, "Details"), shown);
}

/** Returns a part of a sentence as a sentence. */
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function verdict({ rank, k, excluded_by: filters = [], reason = [], steps = [], moves = [] }, isShared) {
  if (filters.length)
    return filters.includes("seen") || filters.includes("DropSeen")
      ? `Already marked as ${words.done}, so it is not recommended again.`
      : `Excluded by ${filters.join(", ")}.`;
  if (rank)
    return `Ranked ${ordinal(rank)}${k ? ` in the list of ${k}` : ""}${reason.length || moves.length || isShared ? "" : ", because it is popular"}.`;
  const last = steps.findLast((step) => step.rank);
  if (last) return `Ranked ${ordinal(last.rank)} of ${last.of ?? "all"}, below the first ${k ?? words.plural} that are shown.`;
  return `No source proposed this ${words.noun}.`;
}

function path({ sources = [], steps = [] }) {
  const line = (name, text) => h("li", {}, h("b", {}, name), text);
  const used = sources.filter((source) => source.used !== false);
  const proposed = used.map(({ name, kind, rank, of, proposed: isCandidate }) =>
    line(
      kind ?? readable(name),
      !rank
        ? `did not propose this ${words.noun}`
        : isCandidate === false
          ? `ranked it ${ordinal(rank)}, too low to be a candidate`
          : `proposed it, ranked ${ordinal(rank)} of ${of}`,
    ),
  );
  const moved = steps.map(({ name, rank, of, score }) =>
    line(readable(name), rank ? `rank ${rank} of ${of}, score ${figure(score)}` : "not in the list"),
  );
  return proposed.length + moved.length > 0 && h("ol", { class: "path" }, proposed, moved);
}

function influence({ name, kind, features = [] }) {
  const shown = features.slice(0, 5);
  const most = Math.max(...shown.map(({ contribution }) => Math.abs(contribution)));
  const lines = shown.map(({ feature, contribution }) =>
    h("li", {}, h("span", {}, readable(feature)), bar(contribution, most)),
  );
  const model = `${readable(name)}${kind && kind !== name ? ` (${kind})` : ""}`;
  return h(
    "div",
    { class: "influence" },
    h("p", { class: "soft" }, `Features with the largest effect on the score of ${model}`),
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

async function drawSimilar(section, id) {
  const [films] = await Promise.all([api.similar(id).catch(() => []), load()]);
  if (!films.length) return;
  const list = h(
    "ul",
    { "aria-label": `Similar ${words.plural}`, "aria-describedby": "keys" },
    films.map((film) => card(completed(film))),
  );
  for (const part of list.firstElementChild.querySelectorAll(".press, .mark")) part.tabIndex = 0;
  section.replaceChildren(h("h3", {}, `Similar ${words.plural}`), list);
}
