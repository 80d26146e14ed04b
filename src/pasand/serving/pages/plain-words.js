// How a list was made, in plain words: the history, who proposes candidates, who orders them, and what is left.

import { h, readable } from "./dom.js";
import { nItems, words } from "./words.js";

// Plain words for what a source proposes, by a part of the name or of the class of its model.
const PROPOSES = [
  [/segment|language|group|local/, () => `${words.plural} that similar users like`],
  [/popular|trend|recent/, () => `${words.plural} that are popular now`],
  [/content|text|feature/, () => `${words.plural} whose features resemble those of the history`],
  [/ease|knn|slim|cooccur|item/, () => `${words.plural} that others ${words.past} together with those of the history`],
  [/sequence|markov|sasrec|gru|next|session/, () => `${words.plural} that usually follow`],
  [/als|bpr|mf|tower|factor|graph|svd|user/, () => `${words.plural} that users of a similar taste ${words.past}`],
  [/new|cold|fresh/, () => `new ${words.plural}`],
];
const ORDERS = [
  [/policy|rule|fair|exposure|calibrat/, () => "the rules of the operator are applied to the list"],
  [/mmr|dpp|divers/, () => "the list is made more varied"],
  [/explor/, () => `a few less known ${words.plural} are mixed in`],
  [/rank|stack|cascade|meta/, () => "a finer model orders the candidates again"],
];

const found = (table, text) => table.find(([pattern]) => pattern.test(text.toLowerCase()))?.[1]();

// Returns the steps of a view as an ordered list of sentences.
export function inPlainWords(view, sources, steps, listed) {
  const used = sources.filter((source) => source.used !== false);
  const counts = new Map();
  for (const { name, kind, count } of used) {
    const what = found(PROPOSES, name) ?? found(PROPOSES, kind ?? "") ?? `${words.plural} found by ${readable(name)}`;
    counts.set(what, Math.max(counts.get(what) ?? 0, count ?? 0));
  }
  const proposals = [...counts].map(([what, count]) => h("li", {}, `${what}${count ? ` (${count})` : ""}`));
  const orders = steps.map((name) => found(ORDERS, name)).filter(Boolean);
  return h(
    "ol",
    { class: "plain", "aria-label": "In plain words" },
    h("li", {}, h("b", {}, "The history"), h("p", {}, historyOf(view.history ?? []))),
    h(
      "li",
      {},
      h("b", {}, "Candidates"),
      h("p", {}, proposals.length ? "Out of the whole catalogue these are proposed:" : "Nothing is proposed."),
      h("ul", { class: "bullets" }, proposals),
    ),
    h(
      "li",
      {},
      h("b", {}, "Order"),
      h("p", {}, "Every candidate gets a score, and the highest scores come first."),
      orders.length > 0 && h("p", {}, `Then ${[...new Set(orders)].join(", and ")}.`),
    ),
    h("li", {}, h("b", {}, "The list"), h("p", {}, `The first ${nItems(listed)} are kept; the page shows a part of them.`)),
  );
}

// Returns the history in words: of 50 events there may be more, and an item may be among them more than once.
function historyOf(events) {
  const n = new Set(events.map((event) => event.item_id)).size;
  if (!n) return "There is none yet, so popularity and what was chosen at the start decide.";
  const last = events.length === 50 ? ", the last ones" : "";
  return `${nItems(n)} that this user ${words.past}${last}.`;
}
