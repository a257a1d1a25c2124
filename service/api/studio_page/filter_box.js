/** A text box for filters that completes columns, operators and values. */

import { info, knownValues } from "./api.js";
import { h } from "./dom.js";

const SHOWN = 8;
const PLAIN = /^[A-Za-z_][A-Za-z0-9_]*$/;
const COLUMN = "(?:[A-Za-z_][A-Za-z0-9_]*|`[^`]*`)";
const AFTER_COLUMN = new RegExp(`(?:^|[\\s(])(${COLUMN})\\s+(\\S*)$`);
const AFTER_OPERATOR = new RegExp(
  `(${COLUMN})\\s*(?:!=|<=|>=|=|<|>|in\\s*\\[(?:[^\\]]*,)?)\\s*("[^"]*|[^\\s"\\])]*)$`,
);
const WORDS = new Set(["and", "or", "not"]);

const quoted = (name) => (PLAIN.test(name) ? name : `\`${name}\``);
const unquoted = (name) => name.replace(/^`|`$/g, "");

/** What can be meant at the end of a text, and the unfinished word that it would replace. */
export function completions(text, columns, values) {
  const operator = AFTER_OPERATOR.exec(text);
  if (operator && unquoted(operator[1]) in columns) {
    const start = operator[2];
    const written = (values[unquoted(operator[1])] ?? []).map((value) => JSON.stringify(value));
    return { start, words: matching(written, start.replace(/^"/, "")) };
  }
  const column = AFTER_COLUMN.exec(text);
  if (column && unquoted(column[1]) in columns && !WORDS.has(column[1])) {
    const isText = /string|bool|list/.test(columns[unquoted(column[1])]);
    const some = isText
      ? ["=", "!=", "in [", "is null", "is not null"]
      : ["<", "<=", ">", ">=", "=", "is null", "is not null"];
    return { start: column[2], words: some.filter((one) => one.startsWith(column[2])) };
  }
  const start = /[A-Za-z0-9_`]*$/.exec(text)[0];
  const before = text.slice(0, text.length - start.length).trimEnd();
  const isComplete = before && !/(\(|\band|\bor|\bnot)$/.test(before);
  const words = isComplete ? ["and", "or"] : [...Object.keys(columns).map(quoted), "not"];
  return { start, words: matching(words, start) };
}

const matching = (words, start) =>
  words.filter((word) => word.toLowerCase().replace(/^["`]/, "").startsWith(start.toLowerCase()));

/**
 * The box, with a list of completions (the pattern of a combobox).
 *
 * @param apply called with the text when it is to be used.
 */
export function filterBox(apply) {
  let found = { start: "", words: [] };
  let active = -1;
  const list = h("ul", {
    role: "listbox",
    id: "filter-words",
    "aria-label": "Completions",
    hidden: true,
  });
  const input = h("input", {
    id: "filter",
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "e.g. price < 20",
    maxlength: 1000,
    "aria-expanded": "false",
    "aria-controls": "filter-words",
    "aria-autocomplete": "list",
    "aria-describedby": "filter-help",
    oninput: complete,
    onfocus: complete,
    onblur: close,
    onkeydown: press,
    onchange: () => apply(input.value.trim()),
  });

  async function complete() {
    const [{ bundle }, values] = await Promise.all([info(), knownValues()]);
    if (document.activeElement !== input) return;
    found = completions(input.value.slice(0, input.selectionStart), bundle.columns, values);
    found.words = found.words.slice(0, SHOWN);
    active = -1;
    draw();
  }

  function draw() {
    list.replaceChildren(
      ...found.words.map((word, place) =>
        h(
          "li",
          {
            role: "option",
            id: `filter-word-${place}`,
            "aria-selected": String(place === active),
            // Before the box loses the focus.
            onmousedown: (event) => {
              event.preventDefault();
              take(word);
            },
          },
          word,
        ),
      ),
    );
    list.hidden = !found.words.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    if (active >= 0) input.setAttribute("aria-activedescendant", `filter-word-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function close() {
    found = { start: "", words: [] };
    draw();
  }

  function take(word) {
    const end = input.selectionStart;
    const before = input.value.slice(0, end - found.start.length) + word;
    const space = word.endsWith("[") ? "" : " ";
    input.value = before + space + input.value.slice(end);
    input.setSelectionRange(before.length + space.length, before.length + space.length);
    complete();
  }

  function press(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.words.length) {
      event.preventDefault();
      active = (active + step + found.words.length) % found.words.length;
      draw();
    } else if (event.key === "Enter" && active >= 0) {
      event.preventDefault();
      take(found.words[active]);
    } else if (event.key === "Enter") {
      close();
      apply(input.value.trim());
    } else if (event.key === "Escape") {
      close();
    }
  }

  return {
    element: h(
      "div",
      { class: "filter" },
      h("label", { for: "filter" }, "Filter"),
      input,
      list,
      h("small", { id: "filter-help" }, "A condition on the columns; Enter applies it."),
    ),
    reset: () => (input.value = ""),
  };
}
