/** What is wrong with the service, in plain words, with the section of the runbook on each. */

import { maximum, sum } from "./metrics_text.js";

// The thresholds are those of the chart's alerts.
const ERRORS = 0.01;
const REFUSED = 0.1;
const SLOW = 0.25; // seconds
const FALLBACKS = 0.3;
const STALE = 48 * 3600; // seconds
const RECALL = 0.95;

/**
 * Sentences about what is wrong now, each with the name of an alert.
 *
 * @param readiness of `/readyz`.
 * @param samples of `/metrics`.
 * @param measured since the start.
 */
export function troubles(readiness, samples, measured) {
  const age = maximum(samples, "bundle_age_seconds");
  const recall = maximum(samples, "live_recall");
  const found = [
    [
      readiness.redis === "failing",
      "DRepMRecRedisDegraded",
      "Redis does not answer, or takes no writes. Recommendations go on without the newest " +
        "clicks; new ones may be refused.",
    ],
    [
      readiness.degraded && readiness.redis === "off",
      "DRepMRecErrors",
      "The file with events and item changes cannot be used. Recommendations go on, new " +
        "clicks are refused; the service needs a restart.",
    ],
    [
      readiness.store === "failing",
      "DRepMRecBundleRefused",
      "The store cannot be read, or its live bundle was refused. The previous bundle stays " +
        "in service.",
    ],
    [
      readiness.store === "ok" && maximum(samples, "bundle_behind") > 0,
      "DRepMRecBundleBehind",
      "A worker does not serve the bundle that the store names yet.",
    ],
    [
      age > STALE,
      "DRepMRecBundleStale",
      "The bundle is older than two days: nothing new was published, or not loaded.",
    ],
    [
      measured.errors > ERRORS,
      "DRepMRecErrors",
      "More than 1 % of the requests since the start failed.",
    ],
    [
      measured.refused > REFUSED,
      "DRepMRecRequestsRefused",
      "More than 10 % of the requests since the start were refused: wrong paths, parameters " +
        "or keys.",
    ],
    [
      measured.slowest > SLOW,
      "DRepMRecSlow",
      "One in a hundred recommendations takes longer than 0.25 s.",
    ],
    [
      measured.fallbacks > FALLBACKS,
      "DRepMRecFallbacks",
      "More than 30 % of the recommendations are just the popular items: the users are not " +
        "in the bundle.",
    ],
    [
      maximum(samples, "experiment_arm_suspended") > 0,
      "DRepMRecArmSuspended",
      "An arm of the experiment is suspended: its options do not fit the bundle.",
    ],
    [
      sum(samples, "background_failures_total") > 0,
      "DRepMRecBackgroundWork",
      "Work in the background has failed since the start; it is tried again each time.",
    ],
    [
      sum(samples, "live_recall_samples_total") > 0 && recall < RECALL,
      "DRepMRecLiveRecall",
      "The index finds less than 95 % of what exact search finds.",
    ],
  ];
  return found.filter(([is]) => is).map(([, alert, sentence]) => ({ alert, sentence }));
}
