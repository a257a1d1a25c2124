/** Cards and thumbnails of items. */

import { item, picture } from "./api.js";
import { h } from "./dom.js";

/** The title of an item, else its id. */
export const titleOf = (shown) => {
  const title = shown.columns.title;
  return title === null || title === undefined || title === "" ? shown.item_id : String(title);
};

/** The place of an item's page in the studio. */
export const itemLink = (id) => `#/item/${encodeURIComponent(id)}`;
export const userLink = (id) => `#/user/${encodeURIComponent(id)}`;

/** The picture of an item, or its first letters where it has none. */
export async function image(shown, alt = "") {
  const address = await picture(shown);
  if (address === null) return blank(shown, alt);
  const element = h("img", { src: address, alt, loading: "lazy", class: "picture" });
  element.addEventListener("error", () => element.replaceWith(blank(shown, alt)));
  return element;
}

function blank(shown, alt) {
  const letters = titleOf(shown)
    .split(/\s+/)
    .slice(0, 2)
    .map((word) => [...word][0] ?? "");
  const label = alt ? { role: "img", "aria-label": alt } : { "aria-hidden": "true" };
  return h("span", { class: "picture blank", ...label }, letters.join("").toUpperCase());
}

/** A small picture that leads to the item, with some text below. */
export async function thumbnail(id, below) {
  const shown = await item(id);
  const title = titleOf(shown);
  return h(
    "a",
    { class: "thumbnail", href: itemLink(id), title },
    await image(shown, below === undefined ? title : ""),
    below === undefined
      ? null
      : [
          h("span", { class: "caption" }, title),
          below ? h("span", { class: "below" }, below) : null,
        ],
  );
}

/** A row of thumbnails that scrolls sideways. */
export async function strip(ids, label) {
  const shown = await Promise.all(ids.map((id) => thumbnail(id, "")));
  return h(
    "ul",
    { class: "strip", "aria-label": label, tabindex: "0" },
    shown.map((one) => h("li", {}, one)),
  );
}

/** A ranked list of items with a number each, such as similar items. */
export async function ranked(found, describe) {
  const shown = await Promise.all(found.map((one) => thumbnail(one.item_id, describe(one))));
  return shown.length
    ? h(
        "ol",
        { class: "ranked" },
        shown.map((one) => h("li", {}, one)),
      )
    : h("p", { class: "quiet" }, "Nothing: it has no vector of this kind.");
}
