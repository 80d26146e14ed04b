// Who is watching: a user that the log may know, or a visitor who told languages and films, kept in this browser.

import * as api from "./api.js";

const CURRENT = "pasand.viewer";
const VISITORS = "pasand.visitors";
const KEPT = 4;

function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // without storage the page still works until it is closed
  }
}

let visitors = read(VISITORS, []);
let current = read(CURRENT, null);

export const visited = () => visitors;
export const currentId = () => current;

export function setCurrent(id) {
  current = id;
  write(CURRENT, id);
}

export const visitor = (id) => visitors.find((one) => one.id === id);

export const nameOf = (id) => visitor(id)?.name ?? id;

// Returns a new visitor; the films picked wait in `pending` until the server has taken them as events.
export function welcome(languages, films) {
  const made = {
    id: `visitor-${api.newId().slice(0, 8)}`,
    name: `Visitor ${visitors.length + 1}`,
    languages,
    pending: films,
  };
  visitors = [made, ...visitors].slice(0, KEPT);
  write(VISITORS, visitors);
  return made;
}

// Returns the rows of a viewer's home.
export function home(id) {
  const known = visitor(id);
  if (!known) return api.ask(`v1/users/${encodeURIComponent(id)}/home`);
  return told(known, known.languages);
}

// A visitor's languages go as the feature that the data have: a list of them, or the first alone.
async function told(known, languages) {
  const asked = { user: known.id, history: known.pending };
  const features = Object.entries((await described()).user_features ?? {});
  const named = features.filter(([name]) => /^languages?$/i.test(name));
  const several = named.find(([, { kind }]) => kind === "bag");
  const [name] = several ?? named[0] ?? [];
  if (!name || !languages.length) return api.ask("v1/home", asked);
  return api.ask("v1/home", { ...asked, features: { [name]: several ? languages : languages[0] } });
}

// Sends a watch event, and before it whatever the server has not yet taken of this visitor.
export async function watch(id, item) {
  const known = visitor(id);
  const films = [...(known?.pending ?? []), item];
  await send(id, films);
  if (known) settle(known);
}

// Gives the films that a visitor picked to the server, so that they are remembered there.
export async function remember(known) {
  await send(known.id, known.pending);
  settle(known);
}

// The time is left to the server: its clock is the one that counts.
const send = (user, films) => api.events(films.map((item) => ({ id: api.newId(), user, item })));

function settle(known) {
  known.pending = [];
  write(VISITORS, visitors);
}

let description = null;

// Returns what the server says of itself, asked once unless `again`.
export async function described(again = false) {
  if (!description || again) description = await api.about();
  return description;
}
