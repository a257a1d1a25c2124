/** What a score is made of: the parts of a bundle, their names in words, their bars. */

import { info } from "./api.js";
import { h, number, percent } from "./dom.js";

const COLOURS = 6;
const KNOWN = {
  behaviour: ["what people with similar taste did", "Chosen by people with similar taste"],
  image: ["how it looks", "Looks like what was liked"],
  text: ["how it is described", "Described like what was liked"],
  audio: ["how it sounds", "Sounds like what was liked"],
  linear: ["which items are liked together", "Liked together with it"],
  popularity: ["how popular it is", "Popular with everybody"],
  boost: ["the boosts of the request", "Boosted by the request"],
};

/** Names of the bundle's parts, in their order. */
export async function partNames() {
  return (await info()).bundle.parts.map((part) => part.name);
}

export const meaning = (name) => KNOWN[name]?.[0] ?? `its ${name}`;
const reasonOf = (name) => KNOWN[name]?.[1] ?? `Its ${name} is like what was liked`;
const colour = (names, name) => `part-${names.indexOf(name) % COLOURS}`;

/** The names of the parts with their colours. */
export function legend(names) {
  return h(
    "ul",
    { class: "legend", "aria-label": "Parts of a score" },
    names.map((name) =>
      h(
        "li",
        {},
        h("span", { class: `swatch ${colour(names, name)}` }),
        h("b", {}, name),
        ` ${meaning(name)}`,
      ),
    ),
  );
}

/**
 * The bar of one score.
 *
 * @param parts what each part adds to the score; null where it is not known.
 * @param names of the bundle's parts.
 * @param longest the sum that is as long as the whole bar.
 */
export function bar(parts, names, longest) {
  const known = Object.entries(parts).filter(([, value]) => value !== null);
  if (!known.length) {
    return h("p", { class: "reason" }, "New since training: its score is not divided into parts");
  }
  const positive = known.filter(([, value]) => value > 0);
  const sum = positive.reduce((total, [, value]) => total + value, 0);
  const text = known.map(([name, value]) => `${name} ${number(value)}`).join(", ");
  const segments = positive.map(([name, value]) => {
    const segment = h("span", {
      class: `segment ${colour(names, name)}`,
      title: `${name} ${number(value)}`,
    });
    segment.style.width = `${(100 * value) / longest}%`;
    return segment;
  });
  const against = known.filter(([, value]) => value < -0.005 * longest).map(([name]) => name);
  const [first] = [...positive].sort((a, b) => b[1] - a[1]);
  return [
    h("div", { class: "bar", role: "img", "aria-label": `Score by part: ${text}` }, segments),
    first &&
      h(
        "p",
        { class: "reason" },
        `${reasonOf(first[0])} `,
        h("b", {}, percent(first[1] / sum)),
        against.length ? ` · against it: ${against.join(", ")}` : null,
      ),
  ];
}

/** The sum of what speaks for an item. */
export const positiveSum = (parts) =>
  Object.values(parts ?? {}).reduce((total, value) => total + Math.max(value ?? 0, 0), 0);
