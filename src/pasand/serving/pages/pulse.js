// How fast the answers come: this browser's own measurements as a line, and the server's beside them.

import { measured, quantile } from "./api.js";
import { $, h } from "./dom.js";
import * as viewer from "./viewer.js";

const [FEWEST, DRAWN] = [4, 24];

const ms = (value) => (value == null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

export function start() {
  measured.watch.addEventListener("measured", draw);
  $("#speed").addEventListener("toggle", ({ newState }) => newState === "open" && open());
}

function draw() {
  const times = measured.times.slice(-DRAWN);
  const most = Math.max(...times, 5);
  const place = (value, at) =>
    `${((62 * at) / (times.length - 1) + 1).toFixed(1)},${(18 - (16 * value) / most).toFixed(1)}`;
  $("#pulse polyline").setAttribute("points", times.length < FEWEST ? "" : times.map(place).join(" "));
  $("#pulse .last").textContent = ms(times.at(-1));
  $("#pulse").setAttribute("aria-label", `Speed: last answer in ${ms(times.at(-1))}`);
  if ($("#speed").matches(":popover-open")) open();
}

async function open() {
  const told = await viewer.described(true).catch(() => null);
  const own = measured.times;
  const pairs = (title, p50, p99, n) =>
    h(
      "div",
      {},
      h("h3", {}, title),
      h(
        "dl",
        {},
        [
          ["half within", ms(p50)],
          ["99 % within", ms(p99)],
          ["requests", n ?? "–"],
        ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))),
      ),
    );
  const { p50_ms, p99_ms, n } = told?.latency ?? {};
  const bundles = (told?.variants ?? []).map(({ name, recipe, bundle, share }) =>
    h(
      "li",
      {},
      h("b", {}, name),
      [
        recipe,
        bundle && `bundle ${bundle.slice(0, 10)}`,
        share != null && share < 1 && `${Math.round(share * 100)} % of viewers`,
      ]
        .filter(Boolean)
        .join(" · "),
    ),
  );
  $("#speed").replaceChildren(
    h(
      "div",
      { class: "two" },
      pairs("In this browser, network and all", quantile(own, 0.5), quantile(own, 0.99), own.length),
      pairs("In the server", p50_ms, p99_ms, n),
    ),
    bundles.length > 0 && h("ul", {}, bundles),
  );
}
