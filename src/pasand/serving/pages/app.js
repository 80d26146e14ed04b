// The page: which part the address asks for, what a watched film sets off, and what happens when the server is away.

import { Gone } from "./api.js";
import * as behind from "./behind.js";
import { $, h, plural } from "./dom.js";
import * as home from "./home.js";
import { portrait } from "./poster.js";
import * as pulse from "./pulse.js";
import * as report from "./report.js";
import { walkable } from "./rows.js";
import { aloud, drawFault, notice, toast, wording } from "./say.js";
import * as search from "./search.js";
import * as sheet from "./sheet.js";
import * as viewer from "./viewer.js";
import * as visitor from "./visitor.js";
import * as who from "./who.js";

const main = $("#main");
const dialog = $("#sheet");
const shown = { address: null, refresh: null, visit: 0 };
let opener = null;

// Returns the page that an address names: its part, its argument, and the address to come back to.
function pageOf(address) {
  const [name = "", id, more] = address.replace(/^#\/?/, "").split("/").map(decoded);
  const current = viewer.currentId();
  if (name === "u" && id)
    return more === "behind" ? { name: "behind", part: behind, id } : { name: "home", part: home, id };
  if (name === "behind" && current) return { name: "behind", part: behind, id: current };
  if (name === "new") return { name, part: visitor };
  if (name === "report") return { name, part: report };
  if (name === "search") return { name, part: search, id: id ?? "" };
  if (name === "" && current) return { name: "home", part: home, id: current };
  return { name: "who", part: who };
}

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
  if (item === undefined) return shut();
  opener ??= document.activeElement;
  await open(decoded(item));
}

// Draws the page of an address, unless it is shown already.
async function show(address) {
  if (shown.address === address && shown.refresh !== undefined && !$(".fault", main)) return;
  const mine = ++shown.visit;
  const first = shown.address === null;
  const { name, part, id } = pageOf(address);
  const holder = h("div", { class: "page" });
  main.setAttribute("aria-busy", "true");
  notice("");
  try {
    const refresh = await part.draw(holder, id, watch);
    if (mine !== shown.visit) return;
    if (part === home || part === behind) viewer.setCurrent(id);
    Object.assign(shown, { address, refresh: refresh ?? null });
    arrived(holder, name, part.titleOf(id), first);
  } catch (error) {
    if (mine !== shown.visit) return;
    Object.assign(shown, { address, refresh: null });
    drawFault(holder, error, () => visit());
    arrived(holder, name, "pasand", first);
    if (error instanceof Gone) waitForServer();
  }
}

function arrived(holder, name, title, first) {
  main.removeAttribute("aria-busy");
  main.replaceChildren(holder);
  document.title = title === "pasand" ? title : `${title} · pasand`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  if (!first && !main.contains(document.activeElement)) $("h1", main)?.focus({ preventScroll: true });
  face();
}

function face() {
  const id = viewer.currentId();
  $("#me").replaceChildren(portrait(id ?? "nobody"));
  $("#me").setAttribute(
    "aria-label",
    id ? `${viewer.nameOf(id)} is watching; choose somebody else` : "Choose who is watching",
  );
}

async function open(item) {
  try {
    if (!dialog.open) {
      dialog.replaceChildren();
      dialog.showModal();
    }
    await sheet.draw(dialog, item, viewer.currentId(), watch, close);
    $("#sheet-title", dialog)?.focus({ preventScroll: true });
  } catch (error) {
    drawFault(dialog, error, () => open(item));
    dialog.append(h("button", { type: "button", class: "second", on: { click: close } }, "Close"));
  }
}

function close() {
  location.hash = shown.address || "#/";
}

function shut() {
  if (!dialog.open) return;
  dialog.close();
  if (opener?.isConnected) opener.focus({ preventScroll: true });
  opener = null;
}

// What a press on a poster does: the event is stored, then the rows are asked for again.
async function watch(film) {
  const id = viewer.currentId();
  if (!id) {
    location.hash = "#/who";
    return;
  }
  try {
    await viewer.watch(id, film.item);
    toast(`Watched ${film.title || film.item}`);
    if (dialog.open) close();
    if (shown.refresh) await shown.refresh(film);
    else aloud(`Watched ${film.title || film.item}.`);
  } catch (error) {
    notice(wording(error));
    if (error instanceof Gone) waitForServer();
  }
}

let waiting = null;

// Asks again every three seconds until the server answers, then draws what is due.
function waitForServer() {
  waiting ??= setInterval(async () => {
    if (!(await viewer.described(true).catch(() => null))) return;
    clearInterval(waiting);
    waiting = null;
    notice("");
    if ($(".fault", main)) visit();
  }, 3000);
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const tell = () => $("#theme").setAttribute("aria-pressed", isDark());
  $("#theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("pasand.theme", root.dataset.theme);
    } catch {
      // the choice holds until the page is closed
    }
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
}

async function tellAbout() {
  const about = await viewer.described().catch(() => null);
  const [variant] = about?.variants ?? [];
  if (!variant) return;
  $("#about").textContent =
    `${about.name}: ${plural(variant.items, "film")}, ${plural(variant.users, "viewer")}, ${plural(variant.events, "event")} learnt. Posters are drawn from titles, languages and genres.`;
}

$(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  close();
});
dialog.addEventListener("click", ({ target }) => target === dialog && close());
addEventListener("hashchange", visit);
walkable(main);
walkable(dialog);
startTheme();
pulse.start();
face();
visit().then(tellAbout);
