// The audit of the bundle: what each rule costs, who is seen, who is served, in sentences and small charts.

import * as api from "./api.js";
import { figure, h, plural, readable, svg } from "./dom.js";
import * as viewer from "./viewer.js";
import { words } from "./words.js";

const MAIN = /^ndcg@/;
const SHARES = ["exposure", "share", "discovery rate", "association"];
const OTHERS = ["popularity", "cold_start", "languages", "stereotypes", "prices", "ratings"];
const SHOWN = new Set(["higher", "lower"]);
const FEW = 6;

export const titleOf = () => "Fairness";

export async function draw(main) {
  const about = await viewer.serviceInfo();
  const found = about.audit === false ? null : await api.audit().catch((error) => missing(error));
  main.replaceChildren(found ? page(found, about) : without());
}

function missing(error) {
  if (error.status === 404) return null;
  throw error;
}

function without() {
  const [fit, audit, serve] = [
    "pasand fit LOG --until 0.8 --out earlier",
    "pasand audit earlier LOG --json audit.json",
    "--audit audit.json",
  ].map((text) => h("code", {}, text));
  return h(
    "div",
    { class: "error" },
    h("h1", { tabindex: "-1" }, "Fairness"),
    h("p", {}, "This server was started without an audit. Write one with ", fit, " and ", audit, ","),
    h("p", {}, "and start the server with ", serve, "."),
  );
}

function page(audit, about) {
  const of = (name) => audit.sections.find((section) => section.name === name);
  const tables = audit.sections.filter(({ name }) => /^(rule|policy) /.test(name));
  const others = OTHERS.map(of).filter(Boolean);
  const shown = audit.sections.flatMap(({ findings }) => findings).filter(({ verdict }) => SHOWN.has(verdict));
  return h(
    "div",
    { class: "audit" },
    h(
      "header",
      {},
      h("h1", { tabindex: "-1" }, "Who is served, who is seen, and what the rules cost"),
      audit.known.map((text) => h("p", { class: "lead" }, text)),
      h("p", { class: "soft" }, sameRecipe(audit, about)),
    ),
    facts(audit, shown),
    h(
      "section",
      { "aria-label": "What each rule costs" },
      h("h2", {}, "What each rule costs"),
      tables.length === 0 && h("p", {}, "The recipe has no policy, so no rule changes a list."),
      h("div", { class: "cards" }, tables.map((section, at) => price(section, audit.policy[at], audit.k))),
    ),
    charts(of("exposure"), "Who is seen", seen(), () => true),
    charts(of("users"), "Who is served", served, ({ measure }) => MAIN.test(measure)),
    drift(of("drift")),
    h(
      "section",
      { "aria-label": "Further measures" },
      h("h2", {}, "Further measures"),
      h("div", { class: "cards flow" }, others.map(sentences)),
    ),
    checklist(audit),
    audit.left_out.length > 0 &&
      h(
        "details",
        {},
        h("summary", {}, `Left out: ${plural(audit.left_out.length, "measure or group", "measures and groups")}`),
        bullets(audit.left_out),
      ),
  );
}

function sameRecipe(audit, about) {
  const [variant] = about.variants ?? [];
  if (audit.bundle === variant?.bundle || audit.bundle.startsWith(variant?.bundle ?? "-"))
    return "This is the audit of the bundle that recommends here.";
  return audit.recipe && audit.recipe === variant?.recipe
    ? "The bundle that recommends here has the same recipe, fitted to all events; events that it knows cannot test it."
    : "Note: the bundle that recommends here has another recipe than the one that was audited.";
}

function facts(audit, shown) {
  const pairs = [
    ["test users", audit.users],
    ["test queries", audit.queries],
    [`${words.plural} in a list`, audit.k],
    ["tests", audit.tests],
    ["differences shown", shown.length],
  ];
  return h(
    "section",
    { "aria-label": "In short" },
    h(
      "dl",
      { class: "numbers" },
      pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value.toLocaleString("en")))),
    ),
    h(
      "p",
      { class: "soft" },
      `${audit.correction}: without any real difference, an audit shows one in at most one of twenty cases. A ` +
        "difference that is shown is not by itself unfair. Where none is shown one may still exist, so the smallest " +
        "that would have been found is beside it.",
    ),
  );
}

// Returns the card of a table of the policy: in words, its price, what it changes, and the groups that pay.
function price({ title, findings }, policy, k) {
  const [everyone, ...others] = findings;
  const effects = others.filter(({ attribute }) => !attribute);
  const groups = others.filter(({ attribute }) => attribute);
  const paying = groups.filter(({ verdict }) => SHOWN.has(verdict));
  const [name, ...words] = (policy ?? title).split(": ");
  return h(
    "article",
    { class: "box" },
    h("h3", {}, name),
    words.length > 0 && h("p", { class: "soft" }, `Required: ${words.join(": ")}`),
    effects.map((finding) => effect(finding)),
    h("p", {}, priceOf(everyone, k)),
    h(
      "p",
      {},
      paying.length
        ? `A difference is shown for: ${paying.map((finding) => `${nameOf(finding)} (${finding.verdict})`).join(", ")}.`
        : `No group of users is shown to pay (${groups.length} were tested).`,
    ),
    groups.length > 0 && table(title, groups, "ranking quality by group of users, with and without"),
  );
}

function priceOf({ value, reference, verdict, minimum_detectable_difference: detectable, measure }, k) {
  const figures = `Ranking quality of the first ${k} (${measure}): ${figure(value.mean)}, without it ${figure(reference.mean)}`;
  if (SHOWN.has(verdict)) return `${figures}. It is ${verdict} with it.`;
  const least = detectable ? `; one of ${figure(detectable)} would have been found` : "";
  return `${figures}. No difference is shown${least}.`;
}

// Returns two lines: the figure with the table of the policy, and without it.
function effect({ measure, value, reference, compared_with: other }) {
  if (!reference.mean && measure.startsWith("share of the slots"))
    return h("p", {}, `It replaces ${text(measure, value.mean)} of the ${words.plural} in the lists.`);
  const most = Math.max(value.mean ?? 0, reference.mean ?? 0) || 1;
  const line = (name, figures, colour) =>
    h(
      "li",
      {},
      h("span", {}, name),
      h("i", { class: colour, "aria-hidden": "true", vars: { "--to": (figures.mean ?? 0) / most } }),
      h("b", {}, text(measure, figures.mean)),
    );
  return h(
    "div",
    { class: "pair" },
    h("p", {}, capital(measure.replace("its group", `its ${words.plural}`))),
    h("ul", {}, line("with it", value, "s2"), line(other, reference, "s1")),
  );
}

const seen = () => ({
  about:
    "The dot is the share of the exposure that a group of " +
    `${words.plural} gets; the line through it is the 95\u00a0% interval. The ` +
    "mark is its merit: the share of what the users chose next. Merit was measured under the exposure of the past and " +
    "may repeat its bias.",
  higher: "more than chosen",
  lower: "less than chosen",
});
const served = {
  about:
    "The dot is the ranking quality for a group of users (NDCG, higher is better), with its 95\u00a0% interval. The mark is " +
    "that of all other users.",
  higher: "served better",
  lower: "served worse",
};

// Returns a section with a chart for each attribute.
function charts(section, title, words, wanted) {
  if (!section) return null;
  const findings = section.findings.filter(wanted);
  const attributes = [...new Set(findings.map(({ attribute }) => attribute))];
  return h(
    "section",
    { "aria-label": title },
    h("h2", {}, title),
    h("p", { class: "soft" }, words.about),
    h(
      "div",
      { class: "cards flow" },
      attributes.map((attribute) =>
        chart(
          attribute,
          findings.filter((finding) => finding.attribute === attribute),
          words,
        ),
      ),
    ),
  );
}

function chart(attribute, findings, words) {
  const ends = findings.flatMap(({ value, reference }) => [value.high ?? value.mean ?? 0, reference.mean ?? 0]);
  const top = Math.max(...ends, 1e-9) * 1.04;
  const at = (x) => Math.min(1, Math.max(0, (x ?? 0) / top)).toFixed(4);
  const rows = findings.map(({ group, value, reference, measure, verdict, compared_with: other }) => {
    const track = h(
      "i",
      {
        class: `track ${SHOWN.has(verdict) ? verdict : ""}`,
        "aria-hidden": "true",
        vars: {
          "--low": at(value.low ?? value.mean),
          "--high": at(value.high ?? value.mean),
          "--at": at(value.mean),
          "--mark": at(reference.mean),
        },
      },
      h("i", { class: "span" }),
      h("i", { class: "mark" }),
      h("i", { class: "dot" }),
    );
    const figures = `${text(measure, value.mean)}, ${other} ${text(measure, reference.mean)}`;
    return h(
      "li",
      {},
      h("span", {}, group),
      track,
      h("small", {}, figures, SHOWN.has(verdict) && h("b", { class: verdict }, ` ${words[verdict]}`)),
    );
  });
  const rest = rows.splice(FEW * 2);
  return h(
    "article",
    { class: "box" },
    h("h3", {}, capital(readable(attribute))),
    h("ul", { class: "dots" }, rows),
    rest.length > 0 &&
      h("details", {}, h("summary", {}, `The other ${rest.length} groups`), h("ul", { class: "dots" }, rest)),
  );
}

// Returns the charts of simulated rounds, with and without the policy.
function drift(section) {
  if (!section) return null;
  const measures = [...new Set(section.findings.map(({ measure }) => measure))];
  return h(
    "section",
    { "aria-label": "Drift over rounds" },
    h("h2", {}, "Drift over rounds"),
    h("p", { class: "soft" }, section.definition),
    h(
      "p",
      { class: "legend" },
      h("span", { class: "s2" }, "with the policy"),
      h("span", { class: "s1" }, "without it"),
    ),
    h(
      "div",
      { class: "cards" },
      measures.map((measure) =>
        rounds(
          measure,
          section.findings.filter((finding) => finding.measure === measure),
        ),
      ),
    ),
  );
}

function rounds(measure, findings) {
  const own = findings.map(({ value }) => value.mean);
  const other = findings.map(({ context }) => context["without the policy"]?.mean).filter((value) => value != null);
  const values = [...own, ...other].filter((value) => value != null);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (at) => 6 + (at * 248) / Math.max(own.length - 1, 1);
  const y = (value) => 58 - (48 * (value - low)) / (high - low || 1);
  const line = (list, colour) =>
    list.length > 0 &&
    svg(
      "g",
      { class: colour },
      svg("polyline", { points: list.map((value, at) => `${x(at)},${y(value)}`).join(" ") }),
      list.map((value, at) => svg("circle", { cx: x(at), cy: y(value), r: 3.5 })),
    );
  const words = (list) => `${text(measure, list[0])} in round 1, ${text(measure, list.at(-1))} in round ${list.length}`;
  return h(
    "article",
    { class: "box" },
    h("h3", {}, capital(measure)),
    svg("svg", { viewBox: "0 0 260 66", class: "rounds", "aria-hidden": "true" }, line(other, "s1"), line(own, "s2")),
    h("p", {}, `With the policy: ${words(own)}.`),
    other.length > 0 && h("p", { class: "soft" }, `Without it: ${words(other)}.`),
  );
}

function sentences({ title, definition, findings }) {
  const shown = findings.filter(({ verdict }) => SHOWN.has(verdict));
  const rest = findings.filter(({ verdict }) => !SHOWN.has(verdict));
  const first = [...shown, ...rest].slice(0, FEW);
  const more = [...shown, ...rest].slice(FEW);
  const lines = (list) => bullets(list.map(({ sentence }) => sentence));
  return h(
    "article",
    { class: "box" },
    h("h3", {}, title),
    lines(first),
    more.length > 0 && h("details", {}, h("summary", {}, `The other ${more.length} figures`), lines(more)),
    h("details", {}, h("summary", {}, "Definition and source"), h("p", { class: "soft" }, definition)),
  );
}

function table(title, findings, caption) {
  const row = (finding) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, nameOf(finding)),
      h("td", { class: "number" }, text(finding.measure, finding.value.mean)),
      h("td", { class: "number" }, text(finding.measure, finding.reference.mean)),
      h("td", {}, finding.verdict || "not tested"),
      h("td", { class: "number" }, text(finding.measure, finding.minimum_detectable_difference)),
    );
  const heads = ["group", "with it", "without it", "difference", "smallest that would be found"];
  return h(
    "details",
    {},
    h("summary", {}, "By group of users"),
    h(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}: ${caption}` },
      h(
        "table",
        {},
        h("caption", { class: "quiet" }, caption),
        h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
        h("tbody", {}, findings.map(row)),
      ),
    ),
  );
}

function checklist({ checklist: lines, notice }) {
  return h(
    "section",
    { "aria-label": "Law and standards" },
    h("h2", {}, "Law and standards"),
    h("p", { class: "soft" }, notice),
    h(
      "dl",
      { class: "law" },
      lines.map(({ source, requires, does }) =>
        h("div", {}, h("dt", {}, source), h("dd", { class: "soft" }, requires), h("dd", {}, does)),
      ),
    ),
  );
}

const bullets = (lines) => h("ul", { class: "bullets" }, lines.map((line) => h("li", {}, line)));
const nameOf = ({ attribute, group }) => `${readable(attribute)}: ${group}`;
const capital = (words) => `${words[0].toUpperCase()}${words.slice(1)}`;

function text(measure, value) {
  if (value == null) return "–";
  return SHARES.some((name) => measure.startsWith(name)) ? `${(100 * value).toFixed(1)} %` : figure(value);
}
