// How a viewer's list was made: history, candidate sources, and rank and score of every candidate after each stage.

import * as api from "./api.js";
import { completed, load } from "./catalogue.js";
import { day, figure, h, plural, readable } from "./dom.js";
import { noticeDegraded } from "./messages.js";
import { inPlainWords } from "./plain-words.js";
import { poster } from "./poster.js";
import { rankChart } from "./rank-chart.js";
import { hrefOf, rules } from "./rows.js";
import * as viewer from "./viewer.js";
import { capital, nItems, words } from "./words.js";

const FIRST = 20;

export const titleOf = (id) => `How the list of ${viewer.nameOf(id)} was made`;

export async function draw(main, id) {
  const visitor = viewer.visitor(id);
  if (visitor?.pending.length || visitor?.rejected?.length) await viewer.storePending(visitor);
  const [view, { ratings = [] }] = await Promise.all([api.view(id), viewer.serviceInfo(), load()]);
  noticeDegraded(view);
  const films = (view.items ?? []).map((film) => ({ ...film, steps: film.steps ?? [], sources: [] }));
  const sources = sourcesOf(view, films);
  const steps = [...new Set(films.flatMap((film) => film.steps.map(({ name }) => name)))];
  const back = h("a", { class: "second", href: `#/u/${encodeURIComponent(id)}` }, "Back to home");
  main.replaceChildren(
    h(
      "div",
      { class: "pipeline" },
      h(
        "header",
        {},
        h("h1", { tabindex: "-1" }, titleOf(id)),
        h("p", { class: "lead" }, "From the history, through candidates and their order, to the list."),
        back,
      ),
      h(
        "div",
        { class: "flow" },
        inPlainWords(view, sources, steps, films.filter(({ rank }) => rank).length),
        policy(view),
        h(
          "details",
          { class: "jargon" },
          h("summary", {}, "Details: models, stages, ranks and scores"),
          stages(view, sources, steps, films),
          chart(films, sources, steps),
          table(films, sources, steps),
        ),
      ),
      h("div", { class: "side" }, history(view.history ?? [], ratings.length > 0)),
    ),
  );
}

// Returns the sources with colour and count, and adds to each film the used sources that list it.
function sourcesOf(view, films) {
  const sources = view.sources ?? [];
  const byId = new Map(films.map((film) => [film.item_id, film]));
  for (const { name, used, items = [] } of sources) {
    if (used === false) continue;
    for (const { item_id: id, rank, score } of items) {
      const film = byId.get(id);
      if (film && !film.sources.some((source) => source.name === name)) film.sources.push({ name, rank, score });
    }
  }
  return sources.map((source, at) => ({ ...source, colour: at % 6, count: source.items?.length }));
}

function stages(view, sources, steps, films) {
  const box = (title, text) => h("li", {}, h("b", {}, title), h("span", {}, text));
  const listed = films.filter(({ rank }) => rank).length;
  return h(
    "ol",
    { class: "stages", "aria-label": "Steps from the history to the list" },
    box("History", nItems(view.history?.length ?? 0)),
    h(
      "li",
      { class: "sources" },
      sources.map(({ name, kind, used, count, colour }) =>
        h(
          "div",
          { class: `source s${colour}${used === false ? " idle" : ""}` },
          h("b", {}, readable(name)),
          h(
            "span",
            {},
            [kind !== name && kind, used === false ? "not used" : count != null && plural(count, "candidate")]
              .filter(Boolean)
              .join(", "),
          ),
        ),
      ),
    ),
    steps.map((name) =>
      box(
        readable(name),
        nItems(films.filter((film) => film.steps.some((step) => step.name === name && step.rank)).length),
      ),
    ),
    box("List", nItems(listed)),
  );
}

// Returns what the policy did in the list: results of its rules, and calibrated categories beside the history's.
function policy({ rules: outcomes = [], calibration = [] }) {
  if (!outcomes.length && !calibration.length) return null;
  const share = (value) => `${Math.round(100 * value)} %`;
  const spread = calibration.map(({ feature, categories }) => {
    const [first, ...others] = categories.map(({ name, history, list }) => ({
      whole: `${name} ${share(list)} of the list and ${share(history)} of the history`,
      short: `${name} ${share(list)} and ${share(history)}`,
    }));
    const text = [first?.whole, ...others.map(({ short }) => short)].filter(Boolean).join("; ");
    return h("p", {}, h("b", {}, `Calibrated by ${readable(feature)}`), ` to the whole history: ${text}.`);
  });
  return h(
    "section",
    { class: "did", "aria-label": "What the policy did" },
    h("h2", {}, "What the policy did"),
    rules(outcomes),
    spread,
  );
}

function chart(films, sources, steps) {
  const colours = new Map(sources.map(({ name, colour }) => [name, colour]));
  const element = h(
    "figure",
    { class: "rank-chart" },
    h("figcaption", {}, `The first twelve ${words.plural} of the list and their ranks after each stage`),
  );
  element.append(rankChart(films, steps, colours));
  return element;
}

function table(films, sources, steps) {
  const body = h(
    "tbody",
    {},
    films.slice(0, FIRST).map((film, at) => line(film, at, sources, steps)),
  );
  const rest = films.length - FIRST;
  const more = h("button", { type: "button", class: "second" }, `Show the other ${rest}`);
  more.addEventListener("click", () => {
    body.append(...films.slice(FIRST).map((film, at) => line(film, at + FIRST, sources, steps)));
    body.rows[FIRST].querySelector("a").focus();
    more.remove();
  });
  const head = h(
    "tr",
    {},
    ["", words.noun, "sources", ...steps].map((name, at) =>
      h("th", { scope: "col", class: at > 2 ? "number" : "" }, readable(name) || h("span", { class: "quiet" }, "rank")),
    ),
  );
  return h(
    "section",
    { class: "candidates", "aria-label": "All candidates" },
    h("h2", {}, "All candidates"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of candidates" },
      h(
        "table",
        {},
        h("caption", { class: "quiet" }, "Rank and score of every candidate after each stage"),
        h("thead", {}, head),
        body,
      ),
    ),
    rest > 0 && more,
  );
}

function line(film, at, sources, steps) {
  const colours = new Map(sources.map(({ name, colour }) => [name, colour]));
  const tags = film.sources.map(({ name, rank }) =>
    h("span", { class: `tag s${colours.get(name) ?? 0}` }, rank ? `${readable(name)} ${rank}` : readable(name)),
  );
  if (film.propensity < 1) tags.push(h("span", { class: "tag" }, `discovery, chance ${figure(film.propensity)}`));
  const cells = steps.map((name) => {
    const step = film.steps.find((each) => each.name === name);
    return h(
      "td",
      { class: "number" },
      step?.rank ? [h("b", {}, String(step.rank)), h("small", {}, figure(step.score))] : "–",
    );
  });
  return h(
    "tr",
    {},
    h("td", {}, String(film.rank ?? at + 1)),
    h("th", { scope: "row" }, h("a", { href: hrefOf(film) }, film.title || film.item_id)),
    h("td", {}, tags),
    cells,
  );
}

const latestFirst = (events) => [...events].sort((a, b) => (b.time ?? 0) - (a.time ?? 0));

// Returns the events, latest first, with their ratings where the log has any: other values are no ratings.
function history(events, rates) {
  const lines = latestFirst(events).map((event) =>
    h(
      "li",
      {},
      h(
        "a",
        { href: hrefOf(event) },
        poster(completed(event), { plain: true }),
        h("b", {}, event.title || event.item_id),
        h(
          "small",
          {},
          [event.time && day(event.time), rates && event.value != null && `rated ${figure(event.value)}`]
            .filter(Boolean)
            .join(", "),
        ),
      ),
    ),
  );
  return h(
    "section",
    { class: "history", "aria-label": "History" },
    h("h2", {}, "History"),
    h(
      "ol",
      { tabindex: "0", "aria-label": `${capital(words.plural)} of the history, latest first` },
      lines.length ? lines : h("li", {}, "Nothing yet."),
    ),
  );
}
