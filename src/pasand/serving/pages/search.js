// Search among the films: popular ones until something is typed.

import * as api from "./api.js";
import { h, plural } from "./dom.js";
import { grid } from "./rows.js";
import { aloud, wording } from "./say.js";

export const titleOf = () => "Search";

export async function draw(main, text, watch) {
  const input = h("input", { id: "films", type: "search", autocomplete: "off", value: text });
  const found = h("div", { class: "found" });
  let asked = 0;
  let waiting;
  const show = async () => {
    const mine = ++asked;
    const search = input.value.trim();
    try {
      const films = await api.items({ search, k: 48 });
      if (mine !== asked) return;
      found.replaceChildren(
        films.length
          ? grid(films, watch, search ? `Films with ${search}` : "Popular films")
          : h("p", { class: "soft" }, `No title contains “${search}”.`),
      );
      if (search) aloud(`${plural(films.length, "film")} found.`);
    } catch (error) {
      if (mine === asked) found.replaceChildren(h("p", { class: "soft", role: "alert" }, wording(error)));
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
      h("label", { for: "films" }, "Find a film"),
      input,
      found,
    ),
  );
  await show();
  input.focus({ preventScroll: true });
}
