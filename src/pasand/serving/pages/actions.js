// What a viewer does with an item: mark it, reject it, rate it, and undo that; each is an event that the models use.

import { ServerUnreachable } from "./api.js";
import { h, icon } from "./dom.js";
import { messageOf, notice, toast } from "./messages.js";
import * as viewer from "./viewer.js";
import { words } from "./words.js";

let changed = async () => false;
let unreachable = () => {};

// Sets what is called after every stored event, with its words and item, and when the server does not respond.
export function start(onChange, onUnreachable) {
  changed = onChange;
  unreachable = onUnreachable;
}

const titleOf = (film) => film.title || film.item_id;

// Marks an item as watched, bought, heard.
export const mark = (film) => act(film, {}, `Marked as ${words.done}: ${titleOf(film)}`);

// Rejects an item, which then leaves the lists.
export const reject = (film) => act(film, { disliked: true }, `Not for you: ${titleOf(film)}`);

// Rates an item on the scale of the log.
export const rate = (film, value) => act(film, { value }, `Rated ${value}: ${titleOf(film)}`);

// Stores an event, reports it with a way back, and loads what is shown again.
async function act(film, fields, text) {
  const id = viewer.currentId();
  if (!id) {
    location.hash = "#/profiles";
    return;
  }
  try {
    const eventId = await viewer.store(id, film.item_id, fields);
    toast(text, () => undo(id, film, eventId));
    await changed(text, film);
  } catch (error) {
    failed(error);
  }
}

async function undo(id, film, eventId) {
  try {
    await viewer.undo(id, film.item_id, eventId);
    toast(`Undone: ${titleOf(film)}`);
    await changed(`Undone: ${titleOf(film)}`, film);
  } catch (error) {
    failed(error);
  }
}

function failed(error) {
  notice(messageOf(error));
  if (error instanceof ServerUnreachable) unreachable();
}

// Returns the button under a poster that marks its item.
export function markButton(film) {
  const label = `Mark as ${words.done}: ${titleOf(film)}`;
  const button = h(
    "button",
    { type: "button", class: "round mark", tabindex: "-1", "aria-label": label, title: `Mark as ${words.done}` },
    icon("check"),
  );
  button.addEventListener("click", async () => {
    button.closest(".card")?.classList.add("loading");
    await mark(film);
    button.closest(".card")?.classList.remove("loading");
  });
  return button;
}

// Returns the buttons of an item: mark, not for me, and a rating where the log has ratings.
export function buttons(film, ratings = []) {
  const press = (text, kind, symbol, run) =>
    h(
      "button",
      { type: "button", class: kind, "aria-label": `${text}: ${titleOf(film)}`, on: { click: run } },
      icon(symbol),
      text,
    );
  return h(
    "div",
    { class: "acts" },
    press(`Mark as ${words.done}`, "main", "check", () => mark(film)),
    press("Not for me", "second", "close", () => reject(film)),
    ratings.length > 0 && stars(film, ratings),
  );
}

// Returns a star for each rating; pointing at one or focusing it fills those up to it.
function stars(film, ratings) {
  const row = h("div", { class: "stars", role: "group", "aria-label": `Rate ${titleOf(film)}` });
  const fill = (upto) => [...row.children].forEach((each, at) => each.classList.toggle("filled", at <= upto));
  ratings.forEach((value, at) =>
    row.append(
      h(
        "button",
        {
          type: "button",
          "aria-label": `Rate ${value} of ${ratings.at(-1)}`,
          on: {
            click: () => rate(film, value),
            pointerenter: () => fill(at),
            focus: () => fill(at),
            blur: () => fill(-1),
          },
        },
        icon("star"),
      ),
    ),
  );
  row.addEventListener("pointerleave", () => fill(-1));
  return row;
}

