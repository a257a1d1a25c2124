/** Small line charts, drawn as SVG. */

import { svg } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 60;

/**
 * A line over time, its area filled.
 *
 * @param values the newest last; null where there is nothing.
 * @param label a sentence for those who do not see it.
 * @param length number of values that fill the width.
 */
export function lineChart(values, label, length, isBad = false) {
  const top = Math.max(...values.filter((value) => value !== null), 1e-9) * 1.1;
  const x = (place) => WIDTH - ((values.length - 1 - place) * WIDTH) / (length - 1);
  const points = values.flatMap((value, place) =>
    value === null ? [] : [[x(place).toFixed(1), (HEIGHT - (HEIGHT * value) / top).toFixed(1)]],
  );
  const kind = isBad ? " bad" : "";
  const line = points.map((point, place) => `${place ? "L" : "M"}${point.join(" ")}`).join("");
  const area =
    points.length > 1 ? `${line}L${points.at(-1)[0]} ${HEIGHT}L${points[0][0]} ${HEIGHT}Z` : "";
  return svg(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": label,
      preserveAspectRatio: "none",
    },
    svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }),
    points.length > 1
      ? [
          svg("path", { class: `area${kind}`, d: area }),
          svg("path", { class: `line${kind}`, d: line }),
        ]
      : [],
  );
}
