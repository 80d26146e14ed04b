// The application: maps the address to a page, loads it again after events, and reconnects to a server that went away.

import * as actions from "./actions.js";
import { ServerUnreachable } from "./api.js";
import * as audit from "./audit.js";
import * as details from "./details.js";
import { $, h, plural } from "./dom.js";
import * as home from "./home.js";
import * as latency from "./latency.js";
import { announce, drawError, notice } from "./messages.js";
import * as onboarding from "./onboarding.js";
import * as pipeline from "./pipeline.js";
import { portrait } from "./poster.js";
import * as profiles from "./profiles.js";
import * as report from "./report.js";
import { enableArrowKeys } from "./rows.js";
import * as search from "./search.js";
import * as viewer from "./viewer.js";
import { nItems } from "./words.js";

const main = $("#main");
const dialog = $("#film-dialog");
const shown = { address: null, refresh: null, visits: 0 };
let opener = null;

// Returns the page that an address names: its name, its module, and its argument.
function pageOf(address) {
  const [name = "", id, subpage] = address.replace(/^#\/?/, "").split("/").map(decoded);
  const current = viewer.currentId();
  if (name === "u" && id)
    return subpage === "pipeline" ? { name: "pipeline", page: pipeline, id } : { name: "home", page: home, id };
  if (name === "pipeline" && current) return { name, page: pipeline, id: current };
  if (name === "new") return { name, page: onboarding };
  if (name === "report") return { name, page: report };
  if (name === "fairness") return { name, page: audit };
  if (name === "search") return { name, page: search, id: id ?? "" };
  if (name === "" && current) return { name: "home", page: home, id: current };
  return { name: "profiles", page: ["", "profiles", "u", "pipeline"].includes(name) ? profiles : unknownPage };
}

const unknownPage = {
  titleOf: () => "Not found",
  draw: async (holder) =>
    holder.replaceChildren(
      h(
        "div",
        { class: "error" },
        h("h1", { tabindex: "-1" }, "There is no such page"),
        h("p", {}, `Nothing is at ${location.hash}. The address may be mistyped.`),
        h("a", { class: "main", href: "#/" }, "Home"),
      ),
    ),
};

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const itemOf = (address) => /^#\/item\/(.+)$/.exec(address)?.[1];

async function visit() {
  const address = location.hash;
  const item = itemOf(address);
  if (item === undefined || shown.address === null) await show(item === undefined ? address : "#/");
  if (item === undefined) return closeDialog();
  opener ??= document.activeElement;
  await openDialog(decoded(item));
}

// Draws the page of an address, unless it is already shown.
async function show(address) {
  if (shown.address === address && shown.refresh !== undefined && !$(".error", main)) return;
  const number = ++shown.visits;
  const first = shown.address === null;
  const { name, page, id } = pageOf(address);
  const holder = h("div", { class: "page" });
  main.setAttribute("aria-busy", "true");
  notice("");
  try {
    const refresh = await page.draw(holder, id);
    if (number !== shown.visits) return;
    if (page === home || page === pipeline) viewer.setCurrent(id);
    Object.assign(shown, { address, refresh: refresh ?? null });
    render(holder, name, page.titleOf(id), first);
  } catch (error) {
    if (number !== shown.visits) return;
    Object.assign(shown, { address, refresh: null });
    drawError(holder, error, () => visit());
    render(holder, name, "pasand", first);
    if (error instanceof ServerUnreachable) waitForServer();
  }
}

function render(holder, name, title, first) {
  main.removeAttribute("aria-busy");
  main.replaceChildren(holder);
  document.title = title === "pasand" ? title : `${title} · pasand`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (!first && !main.contains(document.activeElement)) $("h1", main)?.focus({ preventScroll: true });
  drawProfileLink();
}

function drawProfileLink() {
  const id = viewer.currentId();
  $("#me").replaceChildren(portrait(id ?? "anonymous"));
  $("#me").setAttribute(
    "aria-label",
    id ? `Profile: ${viewer.nameOf(id)}; switch profile` : "Choose a profile",
  );
}

async function openDialog(id) {
  try {
    if (!dialog.open) {
      dialog.replaceChildren();
      dialog.showModal();
    }
    await details.draw(dialog, id, viewer.currentId(), leaveDialog);
    $("#film-title", dialog)?.focus({ preventScroll: true });
  } catch (error) {
    drawError(dialog, error, () => openDialog(id));
    $(".error", dialog).append(h("button", { type: "button", class: "second", on: { click: leaveDialog } }, "Close"));
  }
}

function leaveDialog() {
  location.hash = shown.address || "#/";
}

function closeDialog() {
  if (!dialog.open) return;
  dialog.close();
  if (opener?.isConnected) opener.focus({ preventScroll: true });
  opener = null;
}

// Called after every stored event: loads what is shown again, and closes the dialog of an item that was marked.
async function refreshed(text) {
  if (dialog.open) leaveDialog();
  if (shown.refresh) await shown.refresh(text);
  else announce(`${text}.`);
}

let waiting = null;

// Tries every three seconds until the server responds, then draws the page.
function waitForServer() {
  waiting ??= setInterval(async () => {
    if (!(await viewer.serviceInfo(true).catch(() => null))) return;
    clearInterval(waiting);
    waiting = null;
    notice("");
    if ($(".error", main)) visit();
  }, 3000);
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const update = () => $("#theme").setAttribute("aria-pressed", isDark());
  $("#theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("pasand.theme", root.dataset.theme);
    } catch {
      // the choice holds until the page is closed
    }
    update();
  });
  dark.addEventListener("change", update);
  update();
}

async function drawAbout() {
  const about = await viewer.serviceInfo().catch(() => null);
  const [variant] = about?.variants ?? [];
  if (!variant) return;
  $("#about").textContent =
    `${about.name}: ${nItems(variant.items)}, ${plural(variant.users, "user")}, ${plural(variant.events, "event")} in the training data. Pictures are drawn from titles and features.`;
}

$(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  leaveDialog();
});
dialog.addEventListener("click", ({ target }) => target === dialog && leaveDialog());
addEventListener("hashchange", visit);
enableArrowKeys(main);
enableArrowKeys(dialog);
startTheme();
latency.start();
drawProfileLink();
actions.start(refreshed, waitForServer);
viewer
  .serviceInfo()
  .catch(() => null)
  .then(visit)
  .then(drawAbout);
