// The choice of a profile: example users, visitors of this browser, a new visitor, or a user by id.

import { h, icon } from "./dom.js";
import { portrait } from "./poster.js";
import * as viewer from "./viewer.js";
import { nItems, words } from "./words.js";

const EXAMPLES = 8;

export const titleOf = () => "Who are you?";

export async function draw(main) {
  const about = await viewer.serviceInfo();
  const visitors = viewer.visitors().map(({ id }) => tile(id));
  const examples = (about.examples ?? []).slice(0, EXAMPLES).map((id, at) => tile(String(id), about.last?.[at]));
  const newVisitor = h(
    "a",
    { class: "tile", href: "#/new" },
    h("span", { class: "portrait empty", "aria-hidden": "true" }, icon("plus")),
    h("b", {}, "New visitor"),
    h("small", {}, about.languages?.length ? `Choose languages and three ${words.plural}` : `Choose three ${words.plural}`),
  );
  main.replaceChildren(
    h(
      "div",
      { class: "profiles" },
      h("h1", { tabindex: "-1" }, titleOf()),
      h("p", { class: "lead" }, introduction(about)),
      h(
        "ul",
        { class: "tiles" },
        [newVisitor, ...visitors, ...examples].map((each) => h("li", {}, each)),
      ),
      userForm(),
    ),
  );
}

// Returns what this page is, in two sentences.
function introduction({ name, variants: [variant] = [], simulated }) {
  const data = variant ? ` of ${nItems(variant.items)}` : "";
  return (
    `This page shows what a recommender${data} suggests to each viewer, and why. ` +
    (simulated
      ? "The viewers of this demonstration are simulated; choose one, or be a new visitor, and every click counts."
      : `Choose a user of ${name}, or be a new visitor, and every click counts.`)
  );
}

function tile(id, last) {
  return h(
    "a",
    { class: "tile", href: `#/u/${encodeURIComponent(id)}`, "data-user": id },
    portrait(id),
    h("b", {}, viewer.nameOf(id)),
    viewer.nameOf(id) !== id && !viewer.visitor(id) && h("small", { class: "id" }, id),
    h("small", {}, viewer.visitor(id)?.languages.join(", ") ?? (last ? `Last ${words.past} ${last}` : "")),
  );
}

function userForm() {
  const input = h("input", { id: "user", name: "user", autocomplete: "off", spellcheck: "false", required: true });
  const submit = (event) => {
    event.preventDefault();
    const id = input.value.trim();
    if (id) location.hash = `#/u/${encodeURIComponent(id)}`;
  };
  return h(
    "form",
    { class: "chooser", on: { submit } },
    h("label", { for: "user" }, "Or enter a user id"),
    h("div", { class: "line" }, input, h("button", { class: "second" }, "Open")),
  );
}
