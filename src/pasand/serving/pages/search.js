// Search by title, names and years; popular items until something is typed.

import * as api from "./api.js";
import { h, readable } from "./dom.js";
import { announce, messageOf } from "./messages.js";
import { grid } from "./rows.js";
import * as viewer from "./viewer.js";
import { aNoun, capital, nItems, words } from "./words.js";

export const titleOf = () => "Search";

// Returns what a search reads: the title, and the features that hold names or a year.
function fields({ item_features: kinds = {} }) {
  const named = Object.entries(kinds).filter(([name, kind]) => ["categorical", "bag"].includes(kind) || name === "year");
  return ["title", ...named.map(([name]) => readable(name))].slice(0, 7).join(", ");
}

export async function draw(main, text) {
  const about = await viewer.serviceInfo();
  const input = h("input", {
    id: "finder",
    type: "search",
    autocomplete: "off",
    value: text,
    "aria-describedby": "finder-hint",
  });
  const found = h("div", { class: "found" });
  let requests = 0;
  let waiting;
  const show = async () => {
    const number = ++requests;
    const search = input.value.trim();
    try {
      const films = await api.items({ search, k: 48 });
      if (number !== requests) return;
      found.replaceChildren(
        films.length
          ? grid(films, search ? `${capital(words.plural)} found for “${search}”` : `Popular ${words.plural}`)
          : h("p", { class: "soft" }, `Nothing was found for “${search}”.`),
      );
      if (search) announce(`${nItems(films.length)} found.`);
    } catch (error) {
      if (number === requests) found.replaceChildren(h("p", { class: "soft", role: "alert" }, messageOf(error)));
    }
  };
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const typed = input.value.trim();
      history.replaceState(null, "", typed ? `#/search/${encodeURIComponent(typed)}` : "#/search");
      show();
    }, 180);
  });
  main.replaceChildren(
    h(
      "div",
      { class: "finding" },
      h("h1", { class: "quiet", tabindex: "-1" }, "Search"),
      h("label", { for: "finder" }, `Search for ${aNoun()}`),
      input,
      h("p", { class: "soft hint-below", id: "finder-hint" }, `By ${fields(about)}; other spellings and scripts are found, too.`),
      found,
    ),
  );
  await show();
  input.focus({ preventScroll: true });
}
