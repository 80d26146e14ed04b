// Posters without pictures: the title as lettering over shapes of its genre, in colours derived from the title.

import { h, svg } from "./dom.js";
import { motifOf } from "./motifs.js";
import { LANGUAGE_NAMES } from "./language-names.js";
import { MOTIFS } from "./shapes.js";

// ground and ink have a contrast of at least 7:1: titles are written in ink on the bare ground.
export const PALETTES = [
  { ground: "#6d101c", ink: "#ffe9c7", one: "#f2a33a", two: "#d9482a", deep: "#42070f" },
  { ground: "#0f3d3e", ink: "#f7ecd0", one: "#f0b541", two: "#2a9d8f", deep: "#082524" },
  { ground: "#f3c64b", ink: "#2a1508", one: "#c93f27", two: "#7a1e2c", deep: "#e0a52c" },
  { ground: "#1d2a5b", ink: "#f5e9d3", one: "#f08a4b", two: "#5b7fd1", deep: "#101a3d" },
  { ground: "#e8ddc6", ink: "#2b1d16", one: "#b5432a", two: "#2f6d6a", deep: "#cfbb94" },
  { ground: "#3b1d4f", ink: "#fbe6d4", one: "#ef6f6c", two: "#9a5fb5", deep: "#240f32" },
  { ground: "#f09a5c", ink: "#2a0d05", one: "#8c1f28", two: "#ffdca6", deep: "#d9743a" },
  { ground: "#103a25", ink: "#f4efd2", one: "#d8b24a", two: "#3f8f5b", deep: "#082215" },
  { ground: "#f0d9d0", ink: "#3a1420", one: "#c23b5a", two: "#7b2d4f", deep: "#e0b3a6" },
  { ground: "#1b1b1f", ink: "#f6f0e4", one: "#e63b2e", two: "#f2c14e", deep: "#34343d" },
  { ground: "#bfe0d8", ink: "#12322f", one: "#d8642f", two: "#1f7a70", deep: "#96c8bc" },
  { ground: "#4f270a", ink: "#ffe8c8", one: "#e9a13b", two: "#b8562b", deep: "#2f1604" },
];

// FNV-1a over UTF-16 units: the same text gives the same poster on every machine.
function hash(text) {
  let value = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return value >>> 0;
}

// Numbers in [0, 1) of a seed (mulberry32).
function numbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const MOODS = [
  ["heavy", ["Action", "Crime", "Thriller", "War", "Sport", "Horror"]],
  ["merry", ["Comedy", "Family", "Musical", "Animation", "Children"]],
];

const moodOf = (genres) => MOODS.find(([, names]) => genres.some((genre) => names.includes(genre)))?.[0] ?? "book";

const titleOf = (film) => film.title || film.item_id;

// Fonts of the moods, for measuring text; the same as in posters.css.
const FONTS = {
  book: '700 100px Georgia, "Iowan Old Style", "Palatino Linotype", "Noto Serif", "DejaVu Serif", serif',
  heavy:
    '700 100px Impact, Haettenschweiler, "Franklin Gothic Heavy", "Roboto Condensed", "Arial Narrow", "DejaVu Sans Condensed", sans-serif',
  merry: '800 100px ui-rounded, "Arial Rounded MT Bold", "Trebuchet MS", "Segoe UI", system-ui, sans-serif',
};
const WIDE = 85;
const LARGEST = 19;
const LINES = 3;
const pen = document.createElement("canvas").getContext("2d");
const measures = new Map();

// Returns the widths of a title's longest word and of the whole title, in em.
function widths(title, mood) {
  const name = `${mood} ${title}`;
  if (!measures.has(name)) {
    pen.font = FONTS[mood];
    const written = mood === "heavy" ? title.toUpperCase() : title;
    const em = (text) => Math.max(pen.measureText(text).width / 100, 1);
    measures.set(name, [Math.max(...written.split(/\s+/).map(em)), em(written)]);
  }
  return measures.get(name);
}

// Returns the size, in hundredths of the poster's width, at which every word fits on the plate and the title in three lines.
function sizeOf(title, mood) {
  const [word, whole] = widths(title, mood);
  return Math.min(LARGEST, WIDE / word, (0.82 * LINES * WIDE) / whole);
}

export const paletteOf = (film) => PALETTES[hash(titleOf(film)) % PALETTES.length];

// Returns the shapes of a film as an SVG of 200 by 200.
export function art(film) {
  const seed = hash(titleOf(film));
  const next = numbers(seed);
  const shapes = MOTIFS[motifOf(film.genres ?? [], next)](next, paletteOf(film));
  return svg(
    "svg",
    { class: "art", viewBox: "0 0 200 200", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" },
    shapes,
  );
}

// Returns a language's name in its own script, as a drawing; nothing for an unknown language.
export function scriptOf(language) {
  const known = LANGUAGE_NAMES[language];
  return (
    known && svg("svg", { class: "script", viewBox: known.box, "aria-hidden": "true" }, svg("path", { d: known.path }))
  );
}

// Returns a poster; it is hidden from screen readers, so the caller must name the film in text.
export function poster(film, { plain = false } = {}) {
  const title = titleOf(film);
  const { ground, ink } = paletteOf(film);
  const above = hash(title) & 64 ? "above" : "below";
  const mood = moodOf(film.genres ?? []);
  const lettering = h(
    "span",
    { class: `lettering ${mood}`, vars: { "--size": sizeOf(title, mood).toFixed(2) } },
    title,
  );
  const plate = h("span", { class: "plate" }, scriptOf(film.language), lettering);
  return h(
    "span",
    { class: `poster ${above}`, "aria-hidden": "true", vars: { "--ground": ground, "--ink": ink } },
    art(film),
    plain ? null : plate,
  );
}

// Returns a round portrait made of shapes, derived from the id.
export function portrait(id) {
  const film = { title: `viewer ${id}`, genres: [] };
  return h(
    "span",
    { class: "portrait", "aria-hidden": "true", vars: { "--ground": paletteOf(film).ground } },
    art(film),
  );
}

// Returns the title of a film in its lettering, as a heading that fits its box.
export function heading(film, attributes = {}) {
  const mood = moodOf(film.genres ?? []);
  return h(
    "h2",
    { class: `lettering ${mood}`, vars: { "--word": widths(titleOf(film), mood)[0].toFixed(2) }, ...attributes },
    titleOf(film),
  );
}
