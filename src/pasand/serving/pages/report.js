// The leaderboard: the report of a comparison, if the server was given one.

import { h } from "./dom.js";
import * as viewer from "./viewer.js";

export const titleOf = () => "Leaderboard";

export async function draw(main) {
  const told = await viewer.described();
  const answer = told.report === false ? null : await fetch("report").catch(() => null);
  const heading = h("h1", { tabindex: "-1" }, "Leaderboard");
  if (!answer?.ok) {
    main.replaceChildren(
      h(
        "div",
        { class: "fault" },
        heading,
        h(
          "p",
          {},
          "No report was given to this server. One is written by ",
          h("code", {}, "pasand compare"),
          " and shown here when the server starts with it.",
        ),
      ),
    );
    return;
  }
  const whole = h("a", { class: "second", href: "report", target: "_blank", rel: "noopener" }, "Open by itself");
  main.replaceChildren(
    h(
      "div",
      { class: "report" },
      h("header", {}, heading, whole),
      h("iframe", { src: "report", title: "Report of the comparison" }),
    ),
  );
}
