/** Tab "Two bundles": one user under the served one and another, the gate's report, rollback. */

import { get, info, item, post, someUsers } from "./api.js";
import { image, itemLink, titleOf } from "./card.js";
import { duration, h, number, percent, say, show } from "./dom.js";
import { report } from "./gate_report.js";

const SHOWN = 10;

/** Open the tab for a version; by default the newest one that is not served. */
export async function open(root, { id }) {
  const stored = await get("admin/bundles");
  const others = stored.bundles.filter((bundle) => bundle.version !== stored.served_version);
  const version = id || (others[0]?.version ?? stored.served_version);
  root.append(
    h("h1", {}, "Bundles of the store"),
    h(
      "p",
      { class: "intro" },
      "A bundle is everything that recommendations are computed from. A new one goes ",
      "live only if the gate finds it no worse; an older one comes back with a click.",
    ),
    table(stored, version),
    confirmation(stored),
  );
  const chosen = stored.bundles.find((bundle) => bundle.version === version);
  if (!chosen) {
    root.append(h("p", { class: "problem", role: "alert" }, `The store has no bundle ${version}.`));
    return;
  }
  const gate = h("section", { class: "panel", "aria-label": "Gate report" });
  const comparison = h("section", { "aria-label": "Comparison" });
  root.append(comparison, gate);
  show(gate, () => report(chosen));
  await compare(comparison, stored.served_version, version);
}

function table({ bundles, live_version: live, served_version: served }, chosen) {
  const row = (bundle) => {
    const isChosen = bundle.version === chosen;
    const age = (Date.now() - Date.parse(bundle.created_at)) / 1000;
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h(
          "a",
          { href: `#/bundles/${bundle.version}`, "aria-current": isChosen ? "true" : null },
          bundle.version,
        ),
        bundle.version === live ? " · live" : "",
        bundle.version === served ? " · served" : "",
      ),
      h("td", {}, `${duration(age)} ago`),
      h("td", { class: "number" }, number(bundle.users)),
      h("td", { class: "number" }, number(bundle.items)),
      h("td", {}, verdict(bundle.gate)),
      h(
        "td",
        {},
        bundle.version === live
          ? null
          : h(
              "button",
              {
                class: "danger",
                "data-version": bundle.version,
                "aria-label": `Make ${bundle.version} live`,
              },
              "Make live …",
            ),
      ),
    );
  };
  return h(
    "div",
    { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Bundles" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["Version", "Made", "Users", "Items", "Gate", "Rollback"].map((name, place) =>
            h("th", { scope: "col", class: place === 2 || place === 3 ? "number" : null }, name),
          ),
        ),
      ),
      h("tbody", {}, bundles.map(row)),
    ),
  );
}

function verdict(gate) {
  if (!gate) return h("span", { class: "quiet" }, "not asked");
  if (gate.forced) return h("span", { class: "verdict refused" }, `forced: ${gate.forced}`);
  return h(
    "span",
    { class: `verdict ${gate.passed ? "passed" : "refused"}` },
    gate.passed ? "passed" : "refused",
  );
}

/** The dialog that asks before a rollback. */
function confirmation({ live_version: live }) {
  const text = h("p", {});
  let version;
  const agreed = async () => {
    dialog.close();
    const done = await post("admin/rollback", { version });
    await info(true);
    say(`${done.bundle_version} is live.`);
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  const dialog = h(
    "dialog",
    { "aria-labelledby": "rollback-title" },
    h("h2", { id: "rollback-title" }, "Make another bundle live?"),
    text,
    h(
      "div",
      { class: "buttons" },
      h("button", { class: "main danger", onclick: agreed }, "Yes, make it live"),
      h("button", { onclick: () => dialog.close(), autofocus: true }, "No"),
    ),
  );
  document.addEventListener("click", ask);
  function ask(event) {
    if (!dialog.isConnected) return document.removeEventListener("click", ask);
    version = event.target.dataset?.version ?? version;
    if (!event.target.dataset?.version) return undefined;
    text.textContent =
      `${version} replaces ${live} for all users, on every worker and replica. ` +
      "The same way leads back.";
    return dialog.showModal();
  }
  return dialog;
}

async function compare(root, served, version) {
  const [first] = await someUsers(1);
  const input = h("input", {
    id: "compared",
    value: first ?? "",
    required: true,
    autocomplete: "off",
  });
  const body = h("div", {});
  const look = () => show(body, () => both(input.value, version));
  const submit = (event) => {
    event.preventDefault();
    look();
  };
  if (version === served) {
    root.append(
      h(
        "p",
        { class: "quiet" },
        "This is the bundle that is served. Choose another one to compare.",
      ),
    );
    return;
  }
  root.append(
    h("h2", {}, "The same user under both"),
    h(
      "div",
      { class: "chooser" },
      h(
        "form",
        { onsubmit: submit },
        h("label", { for: "compared" }, "User"),
        input,
        h("button", {}, "Compare"),
      ),
    ),
    body,
  );
  if (first !== undefined) await look();
}

async function both(user, version) {
  const { served, other, overlap } = await post("admin/compare", {
    user_id: user,
    version,
    k: SHOWN,
  });
  const places = (answer) => new Map(answer.items.map((found) => [found.item_id, found.rank]));
  const [before, after] = [places(served), places(other)];
  return [
    h(
      "p",
      {},
      h("b", { class: "overlap" }, percent(overlap)),
      ` of the ${served.items.length} items are in both lists.`,
    ),
    h(
      "div",
      { class: "sides" },
      await list("Served", "Served", served, () => null),
      await list("Compared with it", version, other, (id) => move(before.get(id), after.get(id))),
    ),
  ];
}

async function list(title, label, answer, describe) {
  const shown = await Promise.all(
    answer.items.map(async ({ item_id: id }) => {
      const found = await item(id);
      return h(
        "li",
        {},
        h(
          "a",
          { class: "thumbnail", href: itemLink(id) },
          await image(found),
          h("span", { class: "caption" }, titleOf(found)),
          describe(id) ?? h("span", { class: "below" }),
        ),
      );
    }),
  );
  return h(
    "section",
    { class: "panel", "aria-label": label },
    h("h2", {}, title),
    h("p", { class: "quiet" }, answer.bundle_version),
    h("ol", { class: "ranked" }, shown),
  );
}

function move(before, after) {
  if (before === undefined) return h("span", { class: "below up" }, "only here");
  if (before === after) return h("span", { class: "below" }, "same place");
  return h(
    "span",
    { class: `below ${before > after ? "up" : "down"}` },
    `${before > after ? "▲" : "▼"} ${Math.abs(before - after)} from place ${before}`,
  );
}
