/** The options of a search: sliders for weights and diversity, a filter, seen items. */

import { afterRest, h } from "./dom.js";
import { filterBox } from "./filter_box.js";
import { meaning } from "./parts.js";

const REST = 200; // milliseconds after the last move of a slider

/**
 * The panel of options.
 *
 * @param names of the bundle's parts.
 * @param change called with the options of a request when they have changed.
 */
export function controls(names, change) {
  const weights = new Map(names.map((name) => [name, 1]));
  const options = { diversity: 0, filter: null, exclude_seen: true };
  const tell = () => {
    const changed = [...weights].filter(([, weight]) => weight !== 1);
    const text = changed.map(([name, weight]) => `${name}:${weight}`).join(",");
    change({ ...options, weights: text || null });
  };
  const soon = afterRest(REST, tell);
  const sliders = names.map((name) =>
    slider(`weight-${name}`, name, meaning(name), [0, 3, 0.1], 1, (value) => {
      weights.set(name, value);
      soon();
    }),
  );
  const diversity = slider(
    "diversity",
    "diversity",
    "how much items may not resemble each other",
    [0, 1, 0.05],
    0,
    (value) => {
      options.diversity = value;
      soon();
    },
  );
  const seen = h("input", {
    type: "checkbox",
    id: "exclude-seen",
    checked: true,
    onchange: () => {
      options.exclude_seen = seen.checked;
      tell();
    },
  });
  const filter = filterBox((text) => {
    options.filter = text || null;
    tell();
  });
  const reset = () => {
    for (const one of [...sliders, diversity]) one.reset();
    filter.reset();
    seen.checked = options.exclude_seen = true;
    tell();
  };
  return h(
    "section",
    { class: "panel controls", "aria-label": "Options" },
    h(
      "details",
      { open: matchMedia("(min-width: 56rem)").matches },
      h("summary", {}, h("h2", {}, "What if …")),
      h("p", { class: "quiet" }, "Change what counts, and the list follows."),
      h(
        "fieldset",
        {},
        h("legend", {}, "Weight of each part"),
        sliders.map((one) => one.element),
      ),
      diversity.element,
      filter.element,
      h("label", { class: "check", for: "exclude-seen" }, seen, " Leave out what was seen"),
      h("button", { onclick: reset, type: "button" }, "Back to the defaults"),
    ),
  );
}

function slider(id, name, help, [min, max, step], initial, change) {
  const value = h("output", { for: id }, String(initial));
  const input = h("input", {
    type: "range",
    id,
    min,
    max,
    step,
    value: initial,
    "aria-describedby": `${id}-help`,
    oninput: () => {
      value.textContent = input.value;
      change(Number(input.value));
    },
  });
  const element = h(
    "div",
    { class: "slider" },
    h("label", { for: id }, name),
    value,
    input,
    h("small", { id: `${id}-help` }, help),
  );
  const reset = () => {
    input.value = initial;
    value.textContent = String(initial);
    change(initial);
  };
  return { element, reset };
}
