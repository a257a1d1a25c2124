/** Tab "Operations": versions, freshness, cache, times and errors, and what is wrong. */

import { get, info, send } from "./api.js";
import { lineChart } from "./chart.js";
import { duration, h, number, percent } from "./dom.js";
import { measure, parse, sum } from "./metrics_text.js";
import { troubles } from "./troubles.js";

const EVERY = 2000; // milliseconds
const KEPT = 60; // values of a chart: two minutes

/** Open the tab; it reads the metrics until it is left. */
export async function open(root) {
  const body = h("div", {});
  const problems = h("section", { "aria-label": "What is wrong", "aria-live": "polite" });
  const history = [];
  let before = null;
  let timer;
  root.append(h("h1", {}, "How the service is doing"), problems, body);

  async function look() {
    try {
      const [text, readiness, { bundle }] = await Promise.all([
        send("GET", "metrics").then((response) => response.text()),
        get("readyz"),
        info(true),
      ]);
      const now = { samples: parse(text), at: performance.now() };
      const started = sum(now.samples, "process_start_time_seconds");
      const uptime = started ? Date.now() / 1000 - started : null;
      const total = measure(null, now.samples, uptime);
      if (before) history.push(measure(before.samples, now.samples, (now.at - before.at) / 1000));
      if (history.length > KEPT) history.shift();
      before = now;
      say(problems, troubles(readiness, now.samples, total));
      body.replaceChildren(
        facts(bundle, readiness, now.samples, uptime),
        charts(history, total),
        h(
          "p",
          { class: "quiet" },
          "Charts show the last two minutes, requests of this page included; ",
          "the numbers beside them the time since the start. Alerts and dashboards: ",
          h("a", { href: "studio/runbook.html" }, "runbook"),
          ".",
        ),
      );
    } catch (error) {
      if (!error.isApiError) throw error;
      say(problems, [{ alert: "DRepMRecDown", sentence: `No metrics: ${error.message}` }]);
    }
  }

  const repeat = async () => {
    if (!document.hidden) await look();
    timer = root.isConnected ? setTimeout(repeat, EVERY) : null;
  };
  await repeat();
  return () => clearTimeout(timer);
}

function say(place, found) {
  const text = found.map(({ sentence }) => sentence).join();
  if (place.dataset.text === text) return;
  place.dataset.text = text;
  place.replaceChildren(
    ...(found.length
      ? found.map(({ alert, sentence }) =>
          h(
            "p",
            { class: "problem" },
            `${sentence} `,
            h("a", { href: `studio/runbook.html#${alert.toLowerCase()}` }, "What to do"),
          ),
        )
      : [h("p", { class: "fine" }, "Everything works: no part is degraded.")]),
  );
}

function facts(bundle, readiness, samples, uptime) {
  const age = (Date.now() - Date.parse(bundle.created_at)) / 1000;
  const live = (change) => sum(samples, "items_live", (labels) => labels.change === change);
  const fact = (name, value, below, kind = "") =>
    h(
      "div",
      { class: "panel fact" },
      h("span", { class: "quiet" }, name),
      h("b", { class: kind }, value),
      h("span", { class: "quiet" }, below),
    );
  return h(
    "div",
    { class: "facts" },
    fact(
      "Bundle",
      bundle.version,
      `${number(bundle.users)} users, ${number(bundle.items)} items`,
      "version",
    ),
    fact(
      "Freshness",
      duration(age),
      `since it was made; ${live("new_vector")} items added, ` +
        `${live("hidden")} replaced or deleted since`,
    ),
    fact(
      "Redis",
      readiness.redis === "off" ? "not used" : readiness.redis,
      readiness.redis === "off" ? "events are in a file" : "events and vectors are shared",
    ),
    fact("Store", readiness.store, "bundles come from it"),
    fact("In progress", String(sum(samples, "requests_in_flight")), "requests now"),
    fact(
      "Up",
      uptime === null ? "—" : duration(uptime),
      `${number(sum(samples, "events_total"))} events taken`,
    ),
  );
}

const milliseconds = (seconds) => `${number(1000 * seconds, 1)} ms`;
const share = (value) =>
  value > 0 && value < 0.01 ? `${number(100 * value, 2)}\u00a0%` : percent(value);

/** The charts, and the numbers since the start; what is not known is null. */
function charts(history, total) {
  const chart = (name, field, shown, isBad) => {
    const values = history.map((one) => one[field]);
    const words = (value) => (value === null ? "—" : shown(value));
    const now = words(values.at(-1) ?? null);
    const label = `${name} in the last two minutes, now ${now}`;
    return h(
      "section",
      { class: "panel fact", "aria-label": name },
      h("span", { class: "quiet" }, name),
      h("b", {}, now),
      lineChart(values, label, KEPT, isBad),
      h("span", { class: "quiet" }, `since the start ${words(total[field])}`),
    );
  };
  return h(
    "div",
    { class: "charts" },
    chart("Requests per second", "requests", (value) => number(value, 1)),
    chart("Median time of recommendations", "median", milliseconds),
    chart("Time of the slowest 1 %", "slowest", milliseconds),
    chart("Failed requests (5xx)", "errors", share, true),
    chart("Refused requests (4xx)", "refused", share, true),
    chart("User vectors from a cache", "hits", share),
    chart("Popular instead of personal items", "fallbacks", share),
  );
}
