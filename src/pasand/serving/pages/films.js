// What is known of films, so that one that is only named, in a history say, gets the poster that it has elsewhere.

import * as api from "./api.js";

const MOST = 500;
const films = new Map();
let asked = null;

// Asks once for the popular part of the catalogue.
export function learn() {
  asked ??= api.items({ k: MOST }).then(
    (list) => list.forEach((film) => films.set(film.item, film)),
    () => {
      asked = null;
    },
  );
  return asked;
}

export function known(film) {
  const told = Object.fromEntries(Object.entries(film).filter(([, value]) => value != null));
  return { ...films.get(film.item), ...told };
}
