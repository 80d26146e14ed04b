// Behind the rows of a viewer: the history, who proposed what, and where every candidate stood after each stage.

import * as api from "./api.js";
import { day, figure, h, plural, worded } from "./dom.js";
import { known, learn } from "./films.js";
import { funnel } from "./funnel.js";
import { poster } from "./poster.js";
import { hrefOf } from "./rows.js";
import { tellDegraded } from "./say.js";
import * as viewer from "./viewer.js";

const FIRST = 20;

export const titleOf = (id) => `Behind the rows of ${viewer.nameOf(id)}`;

export async function draw(main, id) {
  const visitor = viewer.visitor(id);
  if (visitor?.pending.length) await viewer.remember(visitor);
  const [told] = await Promise.all([api.view(id), learn()]);
  tellDegraded(told);
  const films = (told.items ?? []).map(candidate);
  const sources = sourcesOf(told, films);
  const steps = [...new Set(films.flatMap(({ steps: passed }) => passed.map(({ name }) => name)))];
  const back = h("a", { class: "second", href: `#/u/${encodeURIComponent(id)}` }, "Back to the home");
  main.replaceChildren(
    h(
      "div",
      { class: "behind" },
      h(
        "header",
        {},
        h("h1", { tabindex: "-1" }, titleOf(id)),
        h("p", { class: "lead" }, "From what was watched, through the sources and stages, to the list."),
        back,
      ),
      h(
        "div",
        { class: "flow" },
        road(told, sources, steps, films),
        chart(films, sources, steps),
        table(films, sources, steps),
      ),
      h("div", { class: "side" }, past(told.history ?? [])),
    ),
  );
}

// Returns a candidate with its fields in one form: sources as {name, rank, score}.
function candidate(told) {
  const sources = (told.sources ?? (told.source ? [told.source] : [])).map((one) =>
    typeof one === "string" ? { name: one } : one,
  );
  const steps = told.steps ?? [];
  return { ...told, sources, steps, rank: told.rank ?? told.final_rank ?? steps.at(-1)?.rank ?? null };
}

// Returns the sources, and gives each candidate those that list it where only they know.
function sourcesOf(told, films) {
  const sources = (told.sources ?? []).map((one) => (typeof one === "string" ? { name: one } : one));
  const byItem = new Map(films.map((film) => [film.item, film]));
  for (const { name, items = [] } of sources) {
    for (const [at, one] of items.entries()) {
      const film = byItem.get(one.item ?? one);
      if (film && !film.sources.some((each) => each.name === name))
        film.sources.push({ name, rank: one.rank ?? at + 1, score: one.score });
    }
  }
  const idle = new Set(sources.filter(({ asked }) => asked === false).map(({ name }) => name));
  for (const film of films) film.sources = film.sources.filter(({ name }) => !idle.has(name));
  return sources.map((one, at) => ({
    ...one,
    colour: at % 6,
    count: one.items?.length ?? one.of ?? one.count ?? one.n,
  }));
}

function road(told, sources, steps, films) {
  const box = (title, text, more) => h("li", { class: more ?? "" }, h("b", {}, title), h("span", {}, text));
  const listed = films.filter(({ rank }) => rank).length;
  return h(
    "ol",
    { class: "road", "aria-label": "The way to the list" },
    box("History", plural(told.history?.length ?? 0, "film")),
    h(
      "li",
      { class: "sources" },
      sources.map(({ name, kind, asked, count, colour }) =>
        h(
          "div",
          { class: `source s${colour}${asked === false ? " idle" : ""}` },
          h("b", {}, worded(name)),
          h(
            "span",
            {},
            [kind !== name && kind, asked === false ? "not needed" : count != null && plural(count, "candidate")]
              .filter(Boolean)
              .join(", "),
          ),
        ),
      ),
    ),
    steps.map((name) =>
      box(
        worded(name),
        plural(films.filter((film) => film.steps.some((step) => step.name === name && step.rank)).length, "film"),
      ),
    ),
    box("The list", plural(listed, "place")),
  );
}

function chart(films, sources, steps) {
  const colours = new Map(sources.map(({ name, colour }) => [name, colour]));
  const drawn = h(
    "figure",
    { class: "funnel" },
    h("figcaption", {}, "The first twelve of the list, and where they came from"),
  );
  drawn.append(funnel(films, steps, colours));
  return drawn;
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
    ["", "film", "proposed by", ...steps].map((name, at) =>
      h("th", { scope: "col", class: at > 2 ? "number" : "" }, worded(name) || h("span", { class: "quiet" }, "place")),
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
        h("caption", { class: "quiet" }, "Place and score of every candidate after each stage"),
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
    h("span", { class: `tag s${colours.get(name) ?? 0}` }, rank ? `${worded(name)} ${rank}` : worded(name)),
  );
  const cells = steps.map((name) => {
    const step = film.steps.find((one) => one.name === name);
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
    h("th", { scope: "row" }, h("a", { href: hrefOf(film) }, film.title || film.item)),
    h("td", {}, tags),
    cells,
  );
}

export const latestFirst = (history) => [...history].sort((a, b) => (b.time ?? 0) - (a.time ?? 0));

function past(history) {
  const lines = latestFirst(history).map((event) =>
    h(
      "li",
      {},
      h(
        "a",
        { href: hrefOf(event) },
        poster(known(event), { plain: true }),
        h("b", {}, event.title || event.item),
        h(
          "small",
          {},
          [event.time && day(event.time), event.value != null && `rated ${figure(event.value)}`]
            .filter(Boolean)
            .join(", "),
        ),
      ),
    ),
  );
  return h(
    "section",
    { class: "past", "aria-label": "History" },
    h("h2", {}, "History"),
    h(
      "ol",
      { tabindex: "0", "aria-label": "Films watched, latest first" },
      lines.length ? lines : h("li", {}, "Nothing watched yet."),
    ),
  );
}
