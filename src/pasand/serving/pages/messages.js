// Messages to the visitor: toasts, announcements for screen readers, notices, and error pages.

import { KeyNeeded, RequestFailed, ServerUnreachable, useKey } from "./api.js";
import { $, h, icon } from "./dom.js";
import { capital, words } from "./words.js";

const [SHORT_MS, LONG_MS] = [3200, 12_000];

// Shows a text for some seconds, with a button Undo if `undo` is given; it stays while it has the focus or the pointer.
export function toast(text, undo) {
  const button =
    undo && h("button", { type: "button", class: "undo", "aria-label": `Undo. ${text}` }, "Undo");
  const shown = h("div", { class: "toast" }, icon("check"), h("span", {}, text), button);
  button?.addEventListener("click", () => {
    shown.remove();
    undo();
  });
  $("#toasts").replaceChildren(shown);
  const end = () => (shown.matches(":hover, :focus-within") ? setTimeout(end, 1000) : shown.remove());
  setTimeout(end, undo ? LONG_MS : SHORT_MS);
}

export function announce(text) {
  $("#live").textContent = text;
}

export function notice(text, ...children) {
  $("#notice").replaceChildren(...(text ? [h("p", {}, text, " ", children)] : []));
}

// Shows a notice while responses are degraded: made without the latest events.
export function noticeDegraded(response) {
  const text = `What you ${words.past} last cannot be read right now, so these recommendations may be out of date. They update automatically.`;
  notice(response.degraded ? text : "");
}

// Draws an error in place of a page; `retry` loads the page again.
export function drawError(container, error, retry) {
  const button = (text) => h("button", { type: "button", class: "main", on: { click: retry } }, text);
  if (error instanceof KeyNeeded) return keyForm(container, retry);
  if (error instanceof ServerUnreachable) {
    return errorPage(
      container,
      "The server does not respond",
      "It may be starting up or unreachable. This page keeps trying.",
      button("Try now"),
    );
  }
  if (error instanceof RequestFailed && error.code === "unknown_item") {
    return errorPage(
      container,
      `There is no such ${words.noun}`,
      `${capital(error.message)}. It may have been removed from the catalogue, or the address may be wrong.`,
      h("a", { class: "main", href: "#/search" }, `Search the ${words.plural}`),
    );
  }
  if (error instanceof RequestFailed && error.status === 404) {
    return errorPage(
      container,
      "Not found",
      error.message,
      h("a", { class: "main", href: "#/profiles" }, "Choose a profile"),
    );
  }
  if (error instanceof RequestFailed && error.status === 429) {
    return errorPage(
      container,
      "Too many requests",
      "The server limits how often it can be used. Please wait a little.",
      button("Try again"),
    );
  }
  if (!(error instanceof RequestFailed)) console.error(error);
  return errorPage(container, "Something went wrong", error.message, button("Try again"));
}

function errorPage(container, title, text, ...actions) {
  const sentence = /[.!?]$/.test(text) ? text : `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}.`;
  container.replaceChildren(
    h("div", { class: "error", role: "alert" }, h("h1", { tabindex: "-1" }, title), h("p", {}, sentence), actions),
  );
}

function keyForm(container, retry) {
  const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    useKey(input.value.trim());
    retry();
  };
  const form = h("form", { class: "line", on: { submit } }, input, h("button", { class: "main" }, "Open"));
  const label = h("label", { for: "key" }, "Enter the API key. It is kept until this tab is closed.");
  container.replaceChildren(
    h("div", { class: "error" }, h("h1", { tabindex: "-1" }, "This server needs an API key"), label, form),
  );
}

// Returns the text of an error that is shown beside an unchanged page.
export function messageOf(error) {
  if (error instanceof ServerUnreachable) return "The server does not respond; nothing was changed.";
  if (error.code === "state_unavailable") return "The server cannot store anything right now; nothing was changed.";
  if (error instanceof KeyNeeded) return "This API key is not allowed to store events.";
  return error.message;
}
