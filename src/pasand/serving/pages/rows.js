// Rows of cards: drawn, moved to their new places when the answer changes, and walked with the arrow keys.

import { $, $$, h, icon } from "./dom.js";
import { poster } from "./poster.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

const keyOf = (row) =>
  [row.kind, row.because?.item ?? row.language ?? (row.kind ? "" : row.title)].filter(Boolean).join(" ");
const nameOf = (film) => film.title || film.item;

export const hrefOf = (film) => `#/item/${encodeURIComponent(film.item)}`;

export function metaOf(film) {
  return [film.year, film.language, (film.genres ?? []).slice(0, 3).join(", ")].filter(Boolean).join(" · ");
}

// Returns a card whose poster is pressed to watch; `watch(film)` does what follows.
export function card(film, watch) {
  const meta = metaOf(film);
  const label = [`Watch ${nameOf(film)}`, meta, film.reason].filter(Boolean).join(". ");
  const face = poster(film);
  const chip = h(
    "span",
    { class: `go ${face.classList.contains("above") ? "low" : "high"}`, "aria-hidden": "true" },
    icon("play"),
    "Watch",
  );
  const press = h("button", { type: "button", class: "press", tabindex: "-1", "aria-label": label }, chip, " ", face);
  press.addEventListener("click", async () => {
    press.classList.add("going");
    await watch(film);
    press.classList.remove("going");
  });
  const details = h(
    "a",
    { class: "round details", href: hrefOf(film), tabindex: "-1", "aria-label": `About ${nameOf(film)}` },
    icon("info"),
  );
  const words = h("p", { class: "reason" }, film.reason || meta);
  return h("li", { class: "card", "data-item": film.item }, press, words, details);
}

// Draws rows into a container; those that were there move, what is new comes in, and focus stays where it was.
export function drawRows(container, rows, watch) {
  const before = places(container);
  const scrolled = new Map($$(".row", container).map((row) => [row.dataset.key, $("ul", row).scrollLeft]));
  const focus = focused(container);
  container.replaceChildren(...rows.filter((row) => row.items?.length).map((row) => drawn(row, watch)));
  for (const row of $$(".row", container)) {
    $("ul", row).scrollLeft = scrolled.get(row.dataset.key) ?? 0;
    stop($(".card", row));
  }
  if (focus) refocus(container, focus);
  if (before.size) moved(container, before);
}

function drawn(row, watch) {
  const list = h(
    "ul",
    { "aria-label": row.title, "aria-describedby": "keys" },
    row.items.map((film) => card(film, watch)),
  );
  const arrow = (name, way) => {
    const slide = () =>
      list.scrollBy({ left: way * list.clientWidth * 0.8, behavior: calm.matches ? "auto" : "smooth" });
    return h(
      "button",
      { type: "button", class: "round", tabindex: "-1", "aria-hidden": "true", on: { click: slide } },
      icon(name),
    );
  };
  const head = h(
    "div",
    { class: "head" },
    h("h2", {}, row.title),
    h("div", { class: "arrows" }, arrow("left", -1), arrow("right", 1)),
  );
  return h(
    "section",
    { class: "row", "data-key": keyOf(row), "data-kind": row.kind, "aria-label": row.title },
    head,
    list,
  );
}

const keyed = (one) => `${one.closest(".row").dataset.key}\n${one.dataset.item}`;

function places(container) {
  return new Map($$(".card", container).map((one) => [keyed(one), one.getBoundingClientRect()]));
}

// Moves the cards from where they were (FLIP); those outside the window are left alone.
function moved(container, before) {
  for (const one of $$(".card", container)) {
    const [was, now] = [before.get(keyed(one)), one.getBoundingClientRect()];
    if (!was) one.classList.add("fresh");
    if (calm.matches || now.top > innerHeight || now.bottom < 0 || now.left > innerWidth) continue;
    const [x, y] = was ? [was.left - now.left, was.top - now.top] : [0, 0];
    if (was && !x && !y) continue;
    const from = was ? { transform: `translate(${x}px, ${y}px)` } : { opacity: 0, transform: "scale(.92)" };
    one.animate([from, { opacity: 1, transform: "none" }], { duration: 420, easing: "cubic-bezier(.2,.7,.2,1)" });
  }
}

function focused(container) {
  const one = document.activeElement?.closest?.(".card");
  if (!one || !container.contains(one)) return null;
  const row = one.closest(".row");
  return {
    key: row.dataset.key,
    top: row.getBoundingClientRect().top,
    row: $$(".row", container).indexOf(row),
    place: $$(".card", row).indexOf(one),
    item: one.dataset.item,
  };
}

// Puts the focus on the card that now stands where the focused one stood, and its row where it was in the window.
function refocus(container, { key, top, row, place, item }) {
  const all = $$(".row", container);
  const home = all.find((one) => one.dataset.key === key) ?? all[Math.min(row, all.length - 1)];
  if (!home) return;
  const cards = $$(".card", home);
  const next = cards.find((one) => one.dataset.item === item) ?? cards[Math.min(place, cards.length - 1)];
  scrollBy({ top: home.getBoundingClientRect().top - top, behavior: "instant" });
  stop(next);
  $(".press", next).focus({ preventScroll: true });
}

// Makes a card the one that Tab reaches in its row.
function stop(one) {
  for (const part of $$(".card .press, .card .details", one.closest("ul"))) part.tabIndex = one.contains(part) ? 0 : -1;
}

function go(one) {
  if (!one) return;
  stop(one);
  $(".press", one).focus({ preventScroll: true });
  const smooth = calm.matches ? "auto" : "smooth";
  one.scrollIntoView({ block: "nearest", inline: "nearest", behavior: smooth });
}

// Lets the arrow keys, Home and End walk through all rows under an element.
export function walkable(element) {
  element.addEventListener("focusin", ({ target }) => {
    if (target.closest(".card")) stop(target.closest(".card"));
  });
  element.addEventListener("keydown", (event) => {
    const one = event.target.closest(".card");
    if (!one || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = neighbour(one, event.key, element);
    if (next === undefined) return;
    event.preventDefault();
    go(next);
  });
}

function neighbour(one, key, element) {
  const cards = $$(".card", one.closest("ul"));
  const at = cards.indexOf(one);
  const lists = $$("ul:has(> .card)", element);
  const row = lists.indexOf(one.closest("ul"));
  const current = (list) =>
    list && ($$(".card", list).find((each) => $(".press", each).tabIndex === 0) ?? $(".card", list));
  if (one.closest("ul").classList.contains("grid") && (key === "ArrowUp" || key === "ArrowDown")) {
    const columns = cards.filter((each) => each.offsetTop === cards[0].offsetTop).length;
    return cards[at + (key === "ArrowDown" ? columns : -columns)] ?? null;
  }
  switch (key) {
    case "ArrowRight":
      return cards[at + 1] ?? null;
    case "ArrowLeft":
      return cards[at - 1] ?? null;
    case "Home":
      return cards[0];
    case "End":
      return cards.at(-1);
    case "ArrowDown":
      return current(lists[row + 1]) ?? null;
    case "ArrowUp":
      return current(lists[row - 1]) ?? null;
    default:
      return undefined;
  }
}

// Returns a grid of cards, which Tab reaches as one and the arrows walk.
export function grid(films, watch, label) {
  const list = h(
    "ul",
    { class: "grid", "aria-label": label, "aria-describedby": "keys" },
    films.map((film) => card(film, watch)),
  );
  if (films.length) stop(list.firstElementChild);
  return list;
}
