/** The gate's report on a bundle: metrics beside those of the live one, drift, plots. */

import { get, send } from "./api.js";
import { h, number } from "./dom.js";

const PLOT = /<img alt="([^"&<>]*)" src="(data:image\/(?:png|svg\+xml);base64,[A-Za-z0-9+/=]+)">/g;
const METRICS = ["recall@20", "ndcg@20", "coverage@20"];

/** The report of a bundle that `/admin/bundles` lists. */
export async function report({ version, has_report: isThere, gate }) {
  const heading = h("h2", {}, `Gate report on ${version}`);
  if (!isThere) return [heading, h("p", { class: "quiet" }, "The store has none.")];
  const where = `admin/bundles/${encodeURIComponent(version)}/report`;
  const [found, page] = await Promise.all([
    get(where),
    send("GET", `${where}.html`).then((response) => response.text()),
  ]);
  const compared = found.gate;
  return [
    heading,
    h(
      "p",
      {},
      found.live
        ? `Compared with ${found.live}, which was live then`
        : "The first bundle of its store, so there was none to compare with",
      compared.candidate
        ? `, on what ${number(compared.users)} users did next.`
        : "; there were no interactions to compare on.",
    ),
    found.live || compared.problems.length ? problems(compared, gate) : null,
    compared.candidate ? metrics(compared) : null,
    quantiles("Scores of the recommended items", found.scores),
    quantiles("Cosine of old and new vectors: 1 where nothing changed", found.drift),
    plots(page),
  ];
}

function problems({ problems: found }, gate) {
  if (!found.length)
    return h("p", { class: "fine" }, "Passed: no metric is worse by more than chance.");
  return [
    h(
      "ul",
      { class: "problem" },
      found.map((problem) => h("li", {}, problem)),
    ),
    gate?.forced ? h("p", {}, `Published all the same: ${gate.forced}`) : null,
  ];
}

function metrics({ candidate, live, popularity, gains }) {
  const rows = [
    ["live then", live],
    ["this bundle", candidate],
    ["most popular items", popularity],
  ];
  const gain = (name) => {
    const [mean, low, high] = gains[name] ?? [];
    return mean === undefined ? "—" : `${signed(mean)} (${signed(low)} … ${signed(high)})`;
  };
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Metrics" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "Metric"),
          rows.map(([name]) => h("th", { scope: "col", class: "number" }, name)),
          h("th", { scope: "col", class: "number" }, "gain (95 % interval)"),
        ),
      ),
      h(
        "tbody",
        {},
        METRICS.map((name) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, name),
            rows.map(([, values]) =>
              h("td", { class: "number" }, values ? values[name].toFixed(4) : "—"),
            ),
            h("td", { class: "number" }, gain(name)),
          ),
        ),
      ),
    ),
  );
}

const signed = (value) => (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(4);

/** Bars from the 1 % to the 99 % quantile, and from the 10 % to the 90 % one within. */
function quantiles(title, found) {
  const rows = Object.entries(found);
  if (!rows.length) return null;
  const ends = rows.flatMap(([, values]) => Object.values(values));
  const [low, high] = [Math.min(0, ...ends), Math.max(...ends)];
  const place = (value) => (100 * (value - low)) / Math.max(high - low, 1e-9);
  return h(
    "figure",
    {},
    h("figcaption", { class: "quiet" }, title),
    rows.map(([name, values]) => {
      const [low, median, high] = ["0.1", "0.5", "0.9"].map((share) => number(values[share]));
      const text = `${name}: median ${median}, 80 % within ${low} … ${high}`;
      const span = (from, to, kind) => {
        const element = h("span", { class: kind });
        element.style.left = `${place(values[from])}%`;
        element.style.width = `${place(values[to]) - place(values[from])}%`;
        return element;
      };
      return [
        h(
          "div",
          { class: "range", "aria-hidden": "true" },
          span("0.01", "0.99", "outer"),
          span("0.1", "0.9", "inner"),
        ),
        h("small", {}, text),
      ];
    }),
  );
}

/** The plots of the report's page, which itself is never made part of this one. */
function plots(page) {
  return h(
    "div",
    { class: "plots" },
    [...page.matchAll(PLOT)].map(([, alt, src]) =>
      h("figure", {}, h("img", { src, alt }), h("figcaption", { class: "quiet" }, alt)),
    ),
  );
}
