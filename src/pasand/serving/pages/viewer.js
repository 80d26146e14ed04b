// The current viewer: a user of the log, or a visitor who chose languages and films, kept in this browser.

import * as api from "./api.js";
import { learn } from "./words.js";

const CURRENT = "pasand.viewer";
const VISITORS = "pasand.visitors";
const KEPT = 4;

function read(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? fallback;
  } catch {
    return fallback;
  }
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // without storage the page works until it is closed
  }
}

let allVisitors = read(VISITORS, []);
let current = read(CURRENT, null);
let info = null;

export const visitors = () => allVisitors;
export const currentId = () => current;

export function setCurrent(id) {
  current = id;
  write(CURRENT, id);
}

export const visitor = (id) => allVisitors.find((each) => each.id === id);

export const nameOf = (id) => visitor(id)?.name ?? info?.names?.[id] ?? id;

// Adds a visitor; the chosen films stay in `pending` until the server has stored them as events.
export function addVisitor(languages, films) {
  const added = {
    id: `visitor-${api.newId().slice(0, 8)}`,
    name: `Visitor ${allVisitors.length + 1}`,
    languages,
    pending: films,
  };
  allVisitors = [added, ...allVisitors].slice(0, KEPT);
  write(VISITORS, allVisitors);
  return added;
}

// Returns the rows of a viewer's home page.
export function home(id) {
  const known = visitor(id);
  if (!known) return api.request(`v1/users/${encodeURIComponent(id)}/home`);
  return visitorHome(known);
}

// Sends a visitor's languages as the user feature of the data: a list of them, or the first one only.
async function visitorHome({ id, pending, languages }) {
  const body = { user_id: id, history: pending };
  const features = Object.entries((await serviceInfo()).user_features ?? {});
  const named = features.filter(([name]) => /^languages?$/i.test(name));
  const several = named.find(([, { kind }]) => kind === "bag");
  const [name] = several ?? named[0] ?? [];
  if (!name || !languages.length) return api.request("v1/home", body);
  return api.request("v1/home", { ...body, features: { [name]: several ? languages : languages[0] } });
}

// Stores an event with further fields, and before it a visitor's films that the server has not stored yet; returns its id.
export async function store(id, itemId, fields = {}) {
  const known = visitor(id);
  const pending = (known?.pending ?? []).map((film) => [film, {}]);
  const ids = await storeEvents(id, [...pending, [itemId, fields]]);
  if (known) clearPending(known);
  return ids.at(-1);
}

// Undoes a stored event.
export const undo = (id, itemId, eventId) => storeEvents(id, [[itemId, { undoes: eventId }]]);

// Stores the films that a visitor chose.
export async function storePending(known) {
  await storeEvents(
    known.id,
    known.pending.map((film) => [film, {}]),
  );
  clearPending(known);
}

// Stores pairs of an item and further fields, and returns their ids. They carry no time: the server's clock decides.
async function storeEvents(userId, pairs) {
  const list = pairs.map(([itemId, fields]) => ({ id: api.newId(), user_id: userId, item_id: itemId, ...fields }));
  await api.events(list);
  return list.map(({ id }) => id);
}

function clearPending(known) {
  known.pending = [];
  write(VISITORS, allVisitors);
}

// Returns the server's description of itself; requested once, unless `again`.
export async function serviceInfo(again = false) {
  if (!info || again) {
    info = await api.about();
    learn(info);
  }
  return info;
}
