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

// Adds a visitor; the chosen and the rejected films stay until the server has stored them as events. `liked` are values
// of item features by feature.
export function addVisitor(languages, films, rejected = [], liked = {}) {
  const added = {
    id: `visitor-${api.newId().slice(0, 8)}`,
    name: `Visitor ${allVisitors.length + 1}`,
    languages,
    pending: films,
    rejected,
    liked,
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

// Sends what a visitor likes. Languages are sent as the user feature of the data, a list of them or the first one only, or
// else as liked values of the items.
async function visitorHome({ id, pending, languages, liked = {} }) {
  const { user_features: ofUsers = {}, item_features: ofItems = {} } = await serviceInfo();
  const isLanguage = ([name]) => /^languages?$/i.test(name);
  const named = Object.entries(ofUsers).filter(isLanguage);
  const several = named.find(([, { kind }]) => kind === "bag");
  const [name] = several ?? named[0] ?? [];
  const features = name && languages.length ? { [name]: several ? languages : languages[0] } : {};
  const [item] = Object.entries(ofItems).find((one) => isLanguage(one) && ["categorical", "bag"].includes(one[1])) ?? [];
  const more = !name && item && languages.length ? { [item]: languages } : {};
  return api.request("v1/home", { user_id: id, history: pending, features, liked: { ...liked, ...more } });
}

// Stores an event with further fields, and before it a visitor's films that the server has not stored yet; returns its id.
export async function store(id, itemId, fields = {}) {
  const known = visitor(id);
  const ids = await storeEvents(id, [...pendingOf(known), [itemId, fields]]);
  if (known) clearPending(known);
  return ids.at(-1);
}

// Undoes a stored event.
export const undo = (id, itemId, eventId) => storeEvents(id, [[itemId, { undoes: eventId }]]);

// Stores the films that a visitor chose and rejected.
export async function storePending(known) {
  await storeEvents(known.id, pendingOf(known));
  clearPending(known);
}

const pendingOf = ({ pending = [], rejected = [] } = {}) => [
  ...pending.map((film) => [film, {}]),
  ...rejected.map((film) => [film, { disliked: true }]),
];

// Stores pairs of an item and further fields, and returns their ids. They carry no time: the server's clock decides.
async function storeEvents(userId, pairs) {
  const list = pairs.map(([itemId, fields]) => ({ id: api.newId(), user_id: userId, item_id: itemId, ...fields }));
  await api.events(list);
  return list.map(({ id }) => id);
}

function clearPending(known) {
  known.pending = [];
  known.rejected = [];
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
