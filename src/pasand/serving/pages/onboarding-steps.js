// One thing after the other that a new visitor rates: an item, or a value such as a language, chosen by the responses so far.

import * as api from "./api.js";
import { $, h, readable } from "./dom.js";
import { poster } from "./poster.js";
import { metaOf } from "./rows.js";
import { words } from "./words.js";

// Responses after which the recommendations can be seen, and no more is suggested.
export const STEPS = 5;

export const isLanguage = (feature) => /^languages?$/i.test(feature);

// Draws what should be rated next, or hides the section where the bundle chooses nothing; `rated` gets each response.
export async function drawStep(state, holder, focus, rated) {
  const number = (state.steps = (state.steps ?? 0) + 1);
  const next = state.nRated < STEPS ? await chosen(state).catch(() => null) : null;
  if (number !== state.steps) return;
  holder.hidden = !next;
  if (!next) return holder.replaceChildren();
  const { film, value } = next;
  const press = (text, kind, liked) =>
    h("button", { type: "button", class: kind, on: { click: () => rated(next, liked) } }, text);
  holder.replaceChildren(
    film ? poster(film) : "",
    h(
      "div",
      {},
      h("p", { class: "soft" }, `${state.nRated + 1} of ${STEPS}`),
      h("h2", { tabindex: "-1" }, `Do you like ${film ? film.title || film.item_id : named(value)}?`),
      h("p", { class: "soft" }, film ? metaOf(film) : isLanguage(value.feature) ? "" : readable(value.feature)),
      h(
        "div",
        { class: "acts" },
        press("Yes", "main", true),
        press("No", "second", false),
        press(film ? "I don’t know it" : "No preference", "second", null),
      ),
    ),
  );
  if (focus) $("h2", holder).focus({ preventScroll: true });
}

const named = ({ feature, value }) => (isLanguage(feature) ? `${words.plural} in ${value}` : value);

// Returns the next item or value by the responses so far, or null if the bundle chooses none; popular items follow those
// that it chooses. In a log without ratings a disliked item is no part of a history.
async function chosen(state) {
  const rates = state.lowest !== undefined;
  const disliked = [...state.rejected];
  const { films, n, value } = await api.onboarding({
    history: [
      ...state.films.keys(),
      ...(rates ? disliked.map((item_id) => ({ item_id, value: state.lowest })) : []),
    ],
    skipped: [...state.skipped, ...(rates ? [] : disliked)],
    values: state.values.filter(({ feature }) => !isLanguage(feature) || !state.languages.size),
    languages: [...state.languages],
    k: 1,
  });
  state.adapts ||= n > 0 || Boolean(value);
  if (!state.adapts) return null;
  return value ? { value } : films.length ? { film: films[0] } : null;
}
