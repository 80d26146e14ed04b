// What the page tells: to all with a toast, to screen readers with a live region, and kindly when something is wrong.

import { Gone, KeyNeeded, Refused, useKey } from "./api.js";
import { $, h, icon } from "./dom.js";

export function toast(text) {
  const shown = h("div", { class: "toast" }, icon("check"), text);
  $("#toasts").replaceChildren(shown);
  setTimeout(() => shown.remove(), 3200);
}

export function aloud(text) {
  $("#live").textContent = text;
}

export function notice(text, more) {
  $("#notice").replaceChildren(...(text ? [h("p", {}, text, " ", more)] : []));
}

// Tells, as long as it is so, that an answer was made without what was watched last.
export function tellDegraded(answer) {
  const late = "What was watched last cannot be read just now, so this may be a little behind. It catches up by itself.";
  notice(answer.degraded ? late : "");
}

// Draws what went wrong in place of a page; `again` tries it once more.
export function drawFault(container, error, again) {
  const button = (text) => h("button", { type: "button", class: "main", on: { click: again } }, text);
  if (error instanceof KeyNeeded) return keyForm(container, again);
  if (error instanceof Gone) {
    return fault(
      container,
      "The server does not answer",
      "It may be starting, or somewhere out of reach. This page goes on trying.",
      button("Try now"),
    );
  }
  if (error instanceof Refused && error.status === 404) {
    return fault(
      container,
      "Nobody here by that name",
      error.message,
      h("a", { class: "main", href: "#/who" }, "Choose who is watching"),
    );
  }
  if (error instanceof Refused && error.status === 429) {
    return fault(container, "A little too fast", "The server asks for a short pause.", button("Try again"));
  }
  if (!(error instanceof Refused)) console.error(error);
  return fault(container, "That did not work", error.message, button("Try again"));
}

function fault(container, title, text, ...more) {
  const sentence = /[.!?]$/.test(text) ? text : `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}.`;
  container.replaceChildren(
    h("div", { class: "fault", role: "alert" }, h("h1", { tabindex: "-1" }, title), h("p", {}, sentence), more),
  );
}

function keyForm(container, again) {
  const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    useKey(input.value.trim());
    again();
  };
  const form = h("form", { class: "line", on: { submit } }, input, h("button", { class: "main" }, "Open"));
  const label = h("label", { for: "key" }, "This server is locked. Its key, kept until this tab is closed:");
  container.replaceChildren(h("div", { class: "fault" }, h("h1", { tabindex: "-1" }, "A key, please"), label, form));
}

// Returns the sentence for a fault beside a page that stays as it is.
export function wording(error) {
  if (error instanceof Gone) return "The server does not answer just now; nothing was changed.";
  if (error.code === "state_gone") return "The server can keep nothing just now; nothing was changed.";
  if (error instanceof KeyNeeded) return "This key may look, but not write.";
  return error.message;
}
