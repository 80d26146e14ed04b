// Rows of cards: drawn, animated when the recommendations change, and navigated with the arrow keys.

import { markButton } from "./actions.js";
import { $, $$, amount, h, icon } from "./dom.js";
import { poster } from "./poster.js";

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

const keyOf = (row) =>
  [row.kind, row.reason_item?.item_id ?? row.language ?? (row.kind ? "" : row.title)].filter(Boolean).join(" ");
const nameOf = (film) => film.title || film.item_id;

export const hrefOf = (film) => `#/item/${encodeURIComponent(film.item_id)}`;

export function metaOf(film) {
  const price = film.price == null ? "" : `price ${amount(film.price)}`;
  return [film.year, film.language, (film.genres ?? []).slice(0, 3).join(", "), price].filter(Boolean).join(" · ");
}

// Returns the reason of an item where it adds to the title of its row.
function reasonOf(film, row) {
  const own = film.reason && film.reason !== row?.title && !(row && film.reason.startsWith("Popular"));
  return own ? film.reason : "";
}

// Returns a card: its poster opens the item, and a button marks it.
export function card(film, row = null) {
  const [meta, reason] = [metaOf(film), reasonOf(film, row)];
  const label = [nameOf(film), meta, reason].filter(Boolean).join(". ");
  const link = h("a", { class: "press", href: hrefOf(film), tabindex: "-1", "aria-label": label }, poster(film));
  return h(
    "li",
    { class: "card", "data-item": film.item_id },
    link,
    h("p", { class: "reason" }, reason || meta),
    markButton(film),
  );
}

// Draws rows into a container: cards that were there before move, new ones appear, and the focus stays.
export function drawRows(container, rows) {
  const before = positions(container);
  const scrolled = new Map($$(".row", container).map((row) => [row.dataset.key, $("ul", row).scrollLeft]));
  const focus = focused(container);
  container.replaceChildren(...rows.filter((row) => row.items?.length).map((row) => drawn(row)));
  for (const row of $$(".row", container)) {
    $("ul", row).scrollLeft = scrolled.get(row.dataset.key) ?? 0;
    makeTabStop($(".card", row));
  }
  if (focus) refocus(container, focus);
  if (before.size) animate(container, before);
}

function drawn(row) {
  const list = h(
    "ul",
    { "aria-label": row.title, "aria-describedby": "keys" },
    row.items.map((film) => card(film, row)),
  );
  const arrow = (name, way) => {
    const slide = () =>
      list.scrollBy({ left: way * list.clientWidth * 0.8, behavior: reducedMotion.matches ? "auto" : "smooth" });
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
    rules(row.rules, row.above),
    list,
  );
}

// Returns what each rule of the policy did in a list, in plain words; false without rules. `above`: the list has one
// more film, which is shown above it.
export function rules(outcomes = [], above = false) {
  if (!outcomes.length) return false;
  return h(
    "ul",
    { class: "rules", "aria-label": "What the policy did" },
    outcomes.map((rule) => h("li", { class: rule.holds ? "" : "broken" }, h("b", {}, rule.name), did(rule))),
    above && h("li", {}, "counted with the large one above"),
  );
}

function did({ count, slots, low, high, holds }) {
  const bounds = [low > 0 && `at least ${low}`, high < slots && `at most ${high}`].filter(Boolean).join(" and ");
  const counted = `${count} of ${slots}`;
  if (!holds) return `${counted}; the policy requires ${bounds}, and too few others can be listed here`;
  return bounds ? `${counted}, as the policy requires: ${bounds}` : counted;
}

const keyOfCard = (card) => `${card.closest(".row").dataset.key}\n${card.dataset.item}`;

function positions(container) {
  return new Map($$(".card", container).map((each) => [keyOfCard(each), each.getBoundingClientRect()]));
}

// Animates the cards from their old positions (FLIP), except those outside the window.
function animate(container, before) {
  for (const each of $$(".card", container)) {
    const [was, now] = [before.get(keyOfCard(each)), each.getBoundingClientRect()];
    if (!was) each.classList.add("fresh");
    if (reducedMotion.matches || now.top > innerHeight || now.bottom < 0 || now.left > innerWidth) continue;
    const [x, y] = was ? [was.left - now.left, was.top - now.top] : [0, 0];
    if (was && !x && !y) continue;
    const from = was ? { transform: `translate(${x}px, ${y}px)` } : { opacity: 0, transform: "scale(.92)" };
    each.animate([from, { opacity: 1, transform: "none" }], { duration: 420, easing: "cubic-bezier(.2,.7,.2,1)" });
  }
}

function focused(container) {
  const current = document.activeElement?.closest?.(".card");
  if (!current || !container.contains(current)) return null;
  const row = current.closest(".row");
  return {
    key: row.dataset.key,
    top: row.getBoundingClientRect().top,
    row: $$(".row", container).indexOf(row),
    position: $$(".card", row).indexOf(current),
    item: current.dataset.item,
    part: document.activeElement.classList.contains("mark") ? ".mark" : ".press",
  };
}

// Moves the focus to the same film, or else to the card at the old position, and keeps its row where it was on screen.
function refocus(container, { key, top, row, position, item, part }) {
  const rows = $$(".row", container);
  const target = rows.find((each) => each.dataset.key === key) ?? rows[Math.min(row, rows.length - 1)];
  if (!target) return;
  const cards = $$(".card", target);
  const next = cards.find((each) => each.dataset.item === item) ?? cards[Math.min(position, cards.length - 1)];
  scrollBy({ top: target.getBoundingClientRect().top - top, behavior: "instant" });
  makeTabStop(next);
  $(part, next).focus({ preventScroll: true });
}

// Makes a card the one that Tab reaches in its row.
function makeTabStop(card) {
  for (const part of $$(".card .press, .card .mark", card.closest("ul")))
    part.tabIndex = card.contains(part) ? 0 : -1;
}

function focusCard(card) {
  if (!card) return;
  makeTabStop(card);
  $(".press", card).focus({ preventScroll: true });
  const smooth = reducedMotion.matches ? "auto" : "smooth";
  card.scrollIntoView({ block: "nearest", inline: "nearest", behavior: smooth });
}

// Lets the arrow keys, Home and End move the focus through all rows under an element.
export function enableArrowKeys(element) {
  element.addEventListener("focusin", ({ target }) => {
    if (target.closest(".card")) makeTabStop(target.closest(".card"));
  });
  element.addEventListener("keydown", (event) => {
    const card = event.target.closest(".card");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = neighbour(card, event.key, element);
    if (next === undefined) return;
    event.preventDefault();
    focusCard(next);
  });
}

function neighbour(card, key, element) {
  const cards = $$(".card", card.closest("ul"));
  const at = cards.indexOf(card);
  const lists = $$("ul:has(> .card)", element);
  const row = lists.indexOf(card.closest("ul"));
  const current = (list) =>
    list && ($$(".card", list).find((each) => $(".press", each).tabIndex === 0) ?? $(".card", list));
  if (card.closest("ul").classList.contains("grid") && (key === "ArrowUp" || key === "ArrowDown")) {
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

// Returns a grid of cards: one tab stop, navigated with the arrow keys.
export function grid(films, label) {
  const list = h(
    "ul",
    { class: "grid", "aria-label": label, "aria-describedby": "keys" },
    films.map((film) => card(film)),
  );
  if (films.length) makeTabStop(list.firstElementChild);
  return list;
}
