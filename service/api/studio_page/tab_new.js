/** Tab "A new item": what a picture and a title would be among the others; publishing it. */

import { forgetItem, info, path, post, put, rememberPicture, remove } from "./api.js";
import { itemLink, ranked } from "./card.js";
import { afterRest, h, number, say, show } from "./dom.js";
import { readPicture } from "./picture_file.js";
import { people } from "./tab_item.js";

const REST = 400; // milliseconds after the last key
const SHOWN = 8;

/** Open the tab. */
export async function open(root) {
  const { bundle, content } = await info();
  const kinds = Object.entries(content);
  const draft = { content: {}, columns: {}, picture: null };
  root.append(
    h("h1", {}, "A new item, without training"),
    h(
      "p",
      { class: "intro" },
      "Drop a picture and type a title. In an instant you see which items it ",
      "resembles and for whom it would be recommended. Nothing is stored before you publish it.",
    ),
  );
  if (!kinds.length) {
    root.append(
      h(
        "p",
        { class: "problem" },
        "This service cannot read pictures and texts: start it with ",
        h("code", {}, "--content-encoders"),
        ".",
      ),
    );
    return;
  }
  const result = h(
    "div",
    { class: "result" },
    h("p", { class: "quiet" }, "Waiting for a picture or a title."),
  );
  const publish = publisher(draft, bundle);
  const look = afterRest(REST, () => {
    publish.update();
    if (Object.keys(draft.content).length) show(result, () => preview(draft));
  });
  const inputs = kinds.map(([name, kind]) =>
    (kind === "image" ? pictureInput : textInput)(name, draft, look),
  );
  const columns = Object.keys(bundle.columns).filter(
    (name) => !["title", "image", "image_path"].includes(name),
  );
  root.append(
    h(
      "div",
      { class: "draft" },
      h(
        "div",
        { class: "fields" },
        inputs,
        columnInputs(columns, bundle, draft, publish),
        publish.element,
      ),
      result,
    ),
  );
}

async function preview(draft) {
  const started = performance.now();
  const found = await post("preview", { content: draft.content, k: SHOWN });
  const time = Math.round(performance.now() - started);
  return [
    h("p", { class: "quiet" }, `Answered in ${time} ms.`),
    h(
      "div",
      { class: "sides" },
      h(
        "section",
        { class: "panel", "aria-label": "Most similar items" },
        h("h2", {}, "Most similar items"),
        await ranked(found.similar, ({ score }) => `cosine ${number(score, 2)}`),
      ),
      h(
        "section",
        { "aria-label": "For whom it would be" },
        h("h2", {}, "For whom it would be recommended"),
        people(found.audience, "For nobody yet."),
      ),
    ),
  ];
}

function pictureInput(name, draft, look) {
  const shown = h("span", { class: "picture blank", "aria-hidden": "true" }, "+");
  const take = async (file) => {
    if (!file) return;
    try {
      const { base64, address } = await readPicture(file);
      draft.content[name] = base64;
      draft.picture = address;
      place.replaceChildren(
        h("img", { class: "picture", src: address, alt: "The new item's picture" }),
      );
      look();
    } catch {
      say(`${file.name} cannot be read as a picture.`, true);
    }
  };
  const input = h("input", {
    type: "file",
    accept: "image/*",
    id: `new-${name}`,
    onchange: () => take(input.files[0]),
  });
  const place = h("div", {}, shown);
  const over = (is) => (event) => {
    event.preventDefault();
    box.classList.toggle("over", is);
  };
  const box = h(
    "div",
    {
      class: "drop",
      ondragover: over(true),
      ondragleave: over(false),
      ondrop: (event) => {
        over(false)(event);
        take(event.dataTransfer.files[0]);
      },
    },
    place,
    h("label", { for: `new-${name}` }, "Drop a picture here, or choose a file"),
    input,
  );
  return box;
}

function textInput(name, draft, look) {
  const input = h("input", {
    id: `new-${name}`,
    autocomplete: "off",
    oninput: () => {
      const text = input.value.trim();
      if (text) draft.content[name] = text;
      else delete draft.content[name];
      draft.columns.title = text || null;
      look();
    },
  });
  return h("label", { for: `new-${name}` }, "Title", input);
}

function columnInputs(names, bundle, draft, publish) {
  return h(
    "details",
    { class: "fields" },
    h("summary", {}, "More columns"),
    names.map((name) => {
      const isNumber = /int|float|double|decimal/.test(bundle.columns[name]);
      const input = h("input", {
        id: `column-${name}`,
        inputmode: isNumber ? "decimal" : null,
        oninput: () => {
          const text = input.value.trim();
          draft.columns[name] = text === "" ? null : isNumber ? Number(text) : text;
          publish.update();
        },
      });
      return h("label", { for: `column-${name}` }, name, input);
    }),
  );
}

/** The id, and the buttons that publish the draft and take it away again. */
function publisher(draft, bundle) {
  const id = h("input", {
    id: "new-id",
    autocomplete: "off",
    required: true,
    value: `new-${Date.now().toString(36)}`,
  });
  const publish = h("button", { class: "main", disabled: true }, "Publish");
  const discard = h(
    "button",
    { class: "danger", type: "button", hidden: true, onclick: take },
    "Discard it again",
  );
  const done = h("p", { "aria-live": "polite" });
  const form = h(
    "form",
    { class: "fields", onsubmit: store },
    h("label", { for: "new-id" }, "item_id", id),
    h("div", { class: "buttons" }, publish, discard),
    done,
  );

  async function store(event) {
    event.preventDefault();
    const known = Object.entries(draft.columns).filter(([name]) => name in bundle.columns);
    await put(path("items", id.value), {
      content: draft.content,
      columns: Object.fromEntries(known),
    });
    forgetItem(id.value);
    if (draft.picture) rememberPicture(id.value, draft.picture);
    id.readOnly = true;
    discard.hidden = false;
    publish.textContent = "Publish the changes";
    done.replaceChildren(
      "It is recommended from now on: ",
      h("a", { href: itemLink(id.value) }, id.value),
      ".",
    );
    done.className = "fine";
  }

  async function take() {
    await remove(path("items", id.value));
    forgetItem(id.value);
    id.readOnly = false;
    discard.hidden = true;
    publish.textContent = "Publish";
    done.replaceChildren(`${id.value} is gone.`);
    publish.focus();
  }

  const update = () => (publish.disabled = !Object.keys(draft.content).length);
  return { element: form, update };
}
