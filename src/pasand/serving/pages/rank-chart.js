// A chart of ranks: each line is a film, from its source through the stages to its position in the final list.

import { h, svg } from "./dom.js";
import { words } from "./words.js";

const FILMS = 12;
const LINE = 30;
const TOP = 40;

// Returns an element that draws itself as wide as it is shown; the table beside it has the same content as text.
export function rankChart(films, steps, colours) {
  const shown = films.filter(({ rank }) => rank).slice(0, FILMS);
  const columns = [
    { name: "source", rankOf: (film) => bestSourceRank(film) },
    ...steps.map((name) => ({ name, rankOf: (film) => film.steps.find((step) => step.name === name)?.rank ?? null })),
  ];
  const box = h("div", { class: "drawing" });
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width > 0) box.replaceChildren(drawn(shown, columns, colours, contentRect.width));
  }).observe(box);
  return box;
}

function bestSourceRank(film) {
  const ranks = film.sources.map(({ rank }) => rank).filter(Boolean);
  return ranks.length ? Math.min(...ranks) : null;
}

function colourOf(film, colours) {
  const [first] = [...film.sources].sort((a, b) => (a.rank ?? 1e9) - (b.rank ?? 1e9));
  return colours.get(first?.name) ?? 0;
}

function drawn(shown, columns, colours, width) {
  const height = TOP + FILMS * LINE + 6;
  const narrow = width < 480;
  const names = Math.min(220, width * 0.42);
  const right = width - names;
  const x = (at) => 8 + (at * (right - 18)) / Math.max(columns.length - 1, 1);
  const deepest = Math.max(FILMS, ...shown.flatMap((film) => columns.map(({ rankOf }) => rankOf(film) ?? 0)));
  // early columns are scaled to the deepest rank, the last one has a line for each position
  const y = (rank, at) => TOP + ((rank - 0.5) * FILMS * LINE) / (at === columns.length - 1 ? FILMS : deepest);
  const heads = columns.map(({ name }, at) =>
    svg(
      "text",
      { x: x(at), y: 18, class: !at ? "" : at === columns.length - 1 ? "end" : "middle" },
      narrow && at && at < columns.length - 1 ? "" : name,
    ),
  );
  const rails = columns.map((_, at) =>
    svg("line", { class: "rail", x1: x(at), x2: x(at), y1: TOP - 10, y2: height - 6 }),
  );
  const lines = shown.map((film, position) => {
    const stops = columns
      .map(({ rankOf }, at) => [at, at === columns.length - 1 ? position + 1 : rankOf(film)])
      .filter(([, rank]) => rank);
    const points = stops.map(([at, rank]) => [x(at), y(rank, at)]);
    const dots = points.map(([cx, cy]) => svg("circle", { cx, cy, r: 4 }));
    const label = svg(
      "text",
      { x: right + 6, y: y(position + 1, columns.length - 1) + 4, class: "name" },
      cut(`${position + 1}  ${film.title || film.item_id}`, names / 7.4),
    );
    return svg(
      "g",
      { class: `film s${colourOf(film, colours)}` },
      svg("title", {}, `${film.title || film.item_id}: ${ranksAsText(film, columns)}`),
      svg("path", { d: curve(points) }),
      dots,
      label,
    );
  });
  return svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": `Ranks of the first ${words.plural} after each stage; the table below has the numbers`,
    },
    rails,
    heads,
    lines,
  );
}

const ranksAsText = (film, columns) => columns.map(({ name, rankOf }) => `${name} ${rankOf(film) ?? "–"}`).join(", ");

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1).trimEnd()}…` : text);

function curve(points) {
  return points
    .map(([x, y], at) => {
      if (!at) return `M${x} ${y}`;
      const [px, py] = points[at - 1];
      const half = (x - px) / 2;
      return `C${px + half} ${py} ${x - half} ${y} ${x} ${y}`;
    })
    .join("");
}
