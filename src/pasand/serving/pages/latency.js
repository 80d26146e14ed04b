// Latency of the responses: this browser's own measurements as a sparkline, and the server's quantiles beside them.

import { latencies, quantile } from "./api.js";
import { $, h } from "./dom.js";
import * as viewer from "./viewer.js";

const [FEWEST, DRAWN] = [4, 24];

const ms = (value) => (value == null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`);

export function start() {
  latencies.changes.addEventListener("change", draw);
  $("#latency-panel").addEventListener("toggle", ({ newState }) => newState === "open" && drawPanel());
}

function draw() {
  const times = latencies.milliseconds.slice(-DRAWN);
  const most = Math.max(...times, 5);
  const point = (value, at) =>
    `${((62 * at) / (times.length - 1) + 1).toFixed(1)},${(18 - (16 * value) / most).toFixed(1)}`;
  $("#latency polyline").setAttribute("points", times.length < FEWEST ? "" : times.map(point).join(" "));
  $("#latency .last").textContent = ms(times.at(-1));
  $("#latency").setAttribute("aria-label", `Latency: last response in ${ms(times.at(-1))}`);
  if ($("#latency-panel").matches(":popover-open")) drawPanel();
}

async function drawPanel() {
  const about = await viewer.serviceInfo(true).catch(() => null);
  const own = latencies.milliseconds;
  const block = (title, p50, p99, n) =>
    h(
      "div",
      {},
      h("h3", {}, title),
      h(
        "dl",
        {},
        [
          ["median", ms(p50)],
          ["99th percentile", ms(p99)],
          ["requests", n ?? "–"],
        ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))),
      ),
    );
  const { p50_ms, p99_ms, n } = about?.latency ?? {};
  const bundles = (about?.variants ?? []).map(({ name, recipe, bundle, share }) =>
    h(
      "li",
      {},
      h("b", {}, name),
      [
        recipe,
        bundle && `bundle ${bundle.slice(0, 10)}`,
        share != null && share < 1 && `${Math.round(share * 100)} % of users`,
      ]
        .filter(Boolean)
        .join(" · "),
    ),
  );
  $("#latency-panel").replaceChildren(
    h(
      "div",
      { class: "two" },
      block("In this browser, including the network", quantile(own, 0.5), quantile(own, 0.99), own.length),
      block("In the server", p50_ms, p99_ms, n),
    ),
    bundles.length > 0 && h("ul", {}, bundles),
  );
}
