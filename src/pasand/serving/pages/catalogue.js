// A cache of the popular part of the catalogue, so that a film known by id and title only gets its full poster.

import * as api from "./api.js";

const MOST = 500;
const films = new Map();
let loading = null;

// Loads the popular films once; a failed load is tried again at the next call.
export function load() {
  loading ??= api.items({ k: MOST }).then(
    (list) => list.forEach((film) => films.set(film.item_id, film)),
    () => {
      loading = null;
    },
  );
  return loading;
}

// Returns a film with the cached fields that it lacks.
export function completed(film) {
  const given = Object.fromEntries(Object.entries(film).filter(([, value]) => value != null));
  return { ...films.get(film.item_id), ...given };
}
