// The leaderboard: the report of `pasand compare`, if the server was started with one.

import * as api from "./api.js";
import { h } from "./dom.js";
import * as viewer from "./viewer.js";

export const titleOf = () => "Leaderboard";

export async function draw(main) {
  const about = await viewer.serviceInfo();
  const response = about.report === false ? null : await api.report().catch(() => null);
  const heading = h("h1", { tabindex: "-1" }, "Leaderboard");
  if (!response?.ok) {
    main.replaceChildren(
      h(
        "div",
        { class: "error" },
        heading,
        h(
          "p",
          {},
          "The leaderboard compares recommenders on your data, and this server was started without one. Write it with",
        ),
        h("pre", {}, h("code", {}, "pasand compare LOG --report report.html")),
        h("p", {}, "and start the server again with it:"),
        h("pre", {}, h("code", {}, "pasand serve BUNDLE --report report.html")),
      ),
    );
    return;
  }
  if (api.hasKey()) {
    // a frame sends no key, and what this page makes itself may run no scripts of its own
    const href = URL.createObjectURL(await response.blob());
    const download = h("a", { class: "second", href, download: "report.html" }, "Download the report");
    main.replaceChildren(h("div", { class: "report" }, h("header", {}, heading, download)));
    return;
  }
  const link = h("a", { class: "second", href: "report", target: "_blank", rel: "noopener" }, "Open in a new tab");
  main.replaceChildren(
    h(
      "div",
      { class: "report" },
      h("header", {}, heading, link),
      h("iframe", { src: "report", title: "Report of the comparison" }),
    ),
  );
}
