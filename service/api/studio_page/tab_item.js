/** Tab "An item": its columns, and what resembles it by behaviour and by each modality. */

import { get, info, item, path, popular } from "./api.js";
import { image, itemLink, ranked, thumbnail, titleOf, userLink } from "./card.js";
import { h, number, show } from "./dom.js";
import { meaning } from "./parts.js";

const SIMILAR = 6;
const AUDIENCE = 10;
const SUGGESTED = 10;
const STATES = {
  trained: "as it was at training time",
  changed: "changed since training",
  new: "new since training",
};

/** Open the tab for an item, or the most popular one. */
export async function open(root, { id }) {
  const suggested = (await popular(SUGGESTED)).map((found) => found.item_id);
  const shown = id || suggested[0];
  const body = h("div", {});
  root.append(
    chooser(shown),
    h(
      "ul",
      { class: "strip", "aria-label": "Popular items", tabindex: "0" },
      await Promise.all(suggested.map(async (one) => h("li", {}, await thumbnail(one)))),
    ),
    body,
  );
  if (shown !== undefined) await show(body, () => page(shown));
}

function chooser(id) {
  const input = h("input", { id: "item", value: id ?? "", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    location.hash = itemLink(input.value);
  };
  return h(
    "div",
    { class: "chooser" },
    h(
      "form",
      { onsubmit: submit },
      h("label", { for: "item" }, "Item"),
      input,
      h("button", {}, "Show"),
    ),
    h("span", { class: "quiet" }, "or one of the most popular:"),
  );
}

async function page(id) {
  const shown = await item(id);
  if (shown.gone) return h("p", { class: "problem", role: "alert" }, `There is no item ${id}.`);
  const { bundle } = await info();
  const kinds = [
    "fused",
    ...bundle.parts.map((part) => part.name).filter((name) => name !== "popularity"),
  ];
  const sides = await Promise.all(kinds.map((kind) => side(id, kind)));
  return [
    await about(shown),
    h("h2", {}, "What resembles it"),
    h("div", { class: "sides" }, sides),
    h("h2", { class: "after" }, "For whom it is"),
    await audience(id),
  ];
}

async function about(shown) {
  const rows = Object.entries(shown.columns).map(([name, value]) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, inWords(value))),
  );
  return h(
    "section",
    { class: "panel about" },
    await image(shown),
    h(
      "div",
      {},
      h("h1", {}, titleOf(shown)),
      h(
        "p",
        { class: "quiet" },
        `${shown.item_id} · ${shown.interactions} interactions · `,
        STATES[shown.state],
        shown.has_vector ? "" : " · without a vector: only as a popular item",
      ),
      h("table", {}, h("tbody", {}, rows)),
    ),
  );
}

const inWords = (value) =>
  value === null ? "—" : Array.isArray(value) ? value.join(", ") : String(value);

async function side(id, by) {
  const { items } = await get(path("similar", id), { by, k: SIMILAR });
  const [name, help] =
    by === "fused" ? ["all together", "what recommendations go by"] : [by, meaning(by)];
  return h(
    "section",
    { class: "panel", "aria-label": `Similar by ${name}` },
    h("h2", {}, name),
    h("p", { class: "quiet" }, help),
    await ranked(items, ({ score }) => `cosine ${number(score, 2)}`),
  );
}

async function audience(id) {
  const { users } = await get(path("audience", id), { k: AUDIENCE });
  return people(users, "Nobody who does not know it yet.");
}

/** Users in whose recommendations an item stands high. */
export function people(users, nobody) {
  if (!users.length) return h("p", { class: "quiet" }, nobody);
  return h(
    "ol",
    { class: "people panel" },
    users.map((user) =>
      h("li", {}, h("a", { href: userLink(user.user_id) }, user.user_id), ` place ${user.rank}`),
    ),
  );
}
