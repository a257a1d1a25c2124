/** Prometheus metrics: samples of a text, and what follows from two texts. */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Samples by the metric's name, each with labels and value. */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const match = LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries(
      [...(match[2] ?? "").matchAll(LABEL)].map((one) => [one[1], one[2]]),
    );
    const name = match[1].replace(/^drepmrec_/, "");
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({ labels, value: Number(match[3]) });
  }
  return samples;
}

/** Sum of the samples of a metric whose labels a function accepts. */
export function sum(samples, name, accepts = () => true) {
  return (samples.get(name) ?? [])
    .filter(({ labels }) => accepts(labels))
    .reduce((total, { value }) => total + value, 0);
}

export const maximum = (samples, name) =>
  Math.max(0, ...(samples.get(name) ?? []).map(({ value }) => value));

/** How a sum grew from one text to the next; a counter that a restart reset grew from 0. */
function growth(before, now, name, accepts) {
  const value = sum(now, name, accepts);
  const old = before ? sum(before, name, accepts) : 0;
  return value >= old ? value - old : value;
}

/** A quantile of the requests' time between two texts, in seconds; null without requests. */
export function quantile(before, now, share, accepts) {
  const bounds = [
    ...new Set((now.get("request_seconds_bucket") ?? []).map(({ labels }) => labels.le)),
  ];
  const counts = bounds
    .map((le) => [
      le === "+Inf" ? Infinity : Number(le),
      growth(
        before,
        now,
        "request_seconds_bucket",
        (labels) => labels.le === le && accepts(labels),
      ),
    ])
    .sort((a, b) => a[0] - b[0]);
  const total = counts.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let [low, below] = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= share * total) {
      if (bound === Infinity) return low;
      return low + ((bound - low) * (share * total - below)) / Math.max(count - below, 1e-9);
    }
    [low, below] = [bound, count];
  }
  return low;
}

const isRecommend = ({ endpoint }) =>
  endpoint.startsWith("/recommend") || endpoint.startsWith("/similar");

/**
 * What a dashboard shows of the time between two texts, or since the start without the first.
 *
 * @param seconds between them; null if that is not known.
 */
export function measure(before, now, seconds) {
  const requests = growth(before, now, "request_seconds_count");
  const failed = growth(before, now, "request_seconds_count", ({ status }) => status >= "500");
  const refused = growth(before, now, "request_seconds_count", ({ status }) => status[0] === "4");
  const hits = growth(before, now, "vector_lookups_total", ({ result }) => result === "hit");
  const local = growth(before, now, "vector_lookups_total", ({ layer }) => layer === "local");
  const share = (part, whole) => (whole ? part / whole : null);
  return {
    requests: seconds === null ? null : requests / seconds,
    median: quantile(before, now, 0.5, isRecommend),
    slowest: quantile(before, now, 0.99, isRecommend),
    errors: share(failed, requests),
    refused: share(refused, requests),
    hits: share(hits, local),
    fallbacks: share(
      growth(before, now, "fallbacks_total", ({ reason }) => reason === "unknown_user"),
      growth(before, now, "stage_seconds_count", ({ stage }) => stage === "vector"),
    ),
  };
}
