/** The list of recommended items: cards with what their scores are made of, and how they moved. */

import { item } from "./api.js";
import { image, itemLink, thumbnail, titleOf } from "./card.js";
import { h } from "./dom.js";
import { bar, positiveSum } from "./parts.js";

const SLIDE = { duration: 350, easing: "ease-out" };

/**
 * The cards of an answer.
 *
 * @param answer of the API.
 * @param names of the bundle's parts.
 * @param before ids of the list that was shown before; null at first.
 * @param act functions `like` and `dislike`, called with an item.
 */
export async function cards(answer, names, before, act) {
  const longest = Math.max(...answer.items.map(({ parts }) => positiveSum(parts)), 1e-9);
  const shown = await Promise.all(
    answer.items.map((found) => card(found, names, longest, before, act)),
  );
  return h("ol", { class: "cards" }, shown);
}

async function card(found, names, longest, before, act) {
  const shown = await item(found.item_id);
  const title = titleOf(shown);
  const reasons = await Promise.all((found.because ?? []).map((one) => thumbnail(one.item_id)));
  return h(
    "li",
    { class: "card", "data-item": found.item_id },
    h(
      "a",
      { class: "face", href: itemLink(found.item_id) },
      await image(shown),
      h("span", { class: "rank" }, String(found.rank)),
      moved(found, before),
      h("span", { class: "title" }, title),
    ),
    found.parts ? bar(found.parts, names, longest) : null,
    reasons.length ? h("div", { class: "because" }, h("span", {}, "because of"), reasons) : null,
    h(
      "div",
      { class: "acts" },
      h(
        "button",
        { class: "like", onclick: () => act.like(shown), "aria-label": `Like ${title}` },
        "♥ Like",
      ),
      h(
        "button",
        { class: "dislike", onclick: () => act.dislike(shown), "aria-label": `Dislike ${title}` },
        "Dislike",
      ),
    ),
  );
}

function moved(found, before) {
  if (!before) return null;
  const place = before.indexOf(found.item_id) + 1;
  if (!place) return h("span", { class: "moved new" }, "new");
  if (place === found.rank) return null;
  const up = place > found.rank;
  const label = `moved ${up ? "up" : "down"} by ${Math.abs(place - found.rank)}`;
  return h(
    "span",
    { class: `moved ${up ? "up" : "down"}`, role: "img", "aria-label": label },
    `${up ? "▲" : "▼"} ${Math.abs(place - found.rank)}`,
  );
}

/** Where each card is on the screen, by its item. */
export const places = (root) =>
  new Map(
    [...root.querySelectorAll(".card")].map((one) => [
      one.dataset.item,
      one.getBoundingClientRect(),
    ]),
  );

/** Let the cards slide from where they were, so that one sees what moved. */
export function slide(root, from) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const one of root.querySelectorAll(".card")) {
    const old = from.get(one.dataset.item);
    const now = one.getBoundingClientRect();
    if (!old) one.animate([{ opacity: 0, transform: "scale(.92)" }, {}], SLIDE);
    else if (old.left !== now.left || old.top !== now.top) {
      one.animate(
        [{ transform: `translate(${old.left - now.left}px, ${old.top - now.top}px)` }, {}],
        SLIDE,
      );
    }
  }
}
