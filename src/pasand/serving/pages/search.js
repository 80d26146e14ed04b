// Search by title; popular films until something is typed.

import * as api from "./api.js";
import { h, plural } from "./dom.js";
import { announce, messageOf } from "./messages.js";
import { grid } from "./rows.js";

export const titleOf = () => "Search";

export async function draw(main, text, watch) {
  const input = h("input", { id: "films", type: "search", autocomplete: "off", value: text });
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
          ? grid(films, watch, search ? `Films with “${search}” in the title` : "Popular films")
          : h("p", { class: "soft" }, `No title contains “${search}”.`),
      );
      if (search) announce(`${plural(films.length, "film")} found.`);
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
      h("label", { for: "films" }, "Search for a film"),
      input,
      found,
    ),
  );
  await show();
  input.focus({ preventScroll: true });
}
