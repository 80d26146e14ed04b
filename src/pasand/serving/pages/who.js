// Who is watching: examples from the log, visitors of this browser, somebody new, or an id typed in.

import { h, icon } from "./dom.js";
import { portrait } from "./poster.js";
import * as viewer from "./viewer.js";

const EXAMPLES = 8;

export const titleOf = () => "Who is watching?";

export async function draw(main) {
  const about = await viewer.described();
  const visitors = viewer.visited().map(({ id }) => tile(id));
  const examples = (about.examples ?? []).slice(0, EXAMPLES).map((one, at) => tile(String(one), about.last?.[at]));
  const fresh = h(
    "a",
    { class: "tile", href: "#/new" },
    h("span", { class: "portrait empty", "aria-hidden": "true" }, icon("plus")),
    h("b", {}, "Somebody new"),
    h("small", {}, "Choose languages and three films"),
  );
  main.replaceChildren(
    h(
      "div",
      { class: "who" },
      h("h1", { tabindex: "-1" }, titleOf()),
      h("p", { class: "lead" }, "Everybody gets a home of their own, made from what they watched."),
      h("ul", { class: "tiles" }, [h("li", {}, fresh), ...[...visitors, ...examples].map((one) => h("li", {}, one))]),
      chooser(),
    ),
  );
}

function tile(id, last) {
  return h(
    "a",
    { class: "tile", href: `#/u/${encodeURIComponent(id)}`, "data-user": id },
    portrait(id),
    h("b", {}, viewer.nameOf(id)),
    h("small", {}, viewer.visitor(id)?.languages.join(", ") ?? (last ? `Last watched ${last}` : "")),
  );
}

function chooser() {
  const input = h("input", { id: "user", name: "user", autocomplete: "off", spellcheck: "false", required: true });
  const submit = (event) => {
    event.preventDefault();
    const id = input.value.trim();
    if (id) location.hash = `#/u/${encodeURIComponent(id)}`;
  };
  return h(
    "form",
    { class: "chooser", on: { submit } },
    h("label", { for: "user" }, "Or somebody by their id"),
    h("div", { class: "line" }, input, h("button", { class: "second" }, "Open")),
  );
}
