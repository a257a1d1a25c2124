/** The studio: tabs by the address's fragment (`#/user/ID`), and the API key if one is needed. */

import { get, info, key } from "./api.js";
import { h, say } from "./dom.js";
import * as bundles from "./tab_bundles.js";
import * as item from "./tab_item.js";
import * as newItem from "./tab_new.js";
import * as operations from "./tab_operations.js";
import * as user from "./tab_user.js";

const TABS = {
  user: { title: "A user", tab: user },
  item: { title: "An item", tab: item },
  new: { title: "A new item", tab: newItem },
  bundles: { title: "Two bundles", tab: bundles },
  operations: { title: "Operations", tab: operations },
};
const main = document.getElementById("main");
const nav = document.getElementById("tabs");
let leave = null;
let isOpen = false;

/** The tab's name and the rest of the fragment, decoded. */
function place() {
  const [, name, ...rest] = location.hash.split("/");
  const known = name === "session" ? "user" : name in TABS ? name : "user";
  return { name: known, isSession: name === "session", id: decoded(rest.join("/")) };
}

/** An id may have been typed by hand, with a lonely percent sign. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function open() {
  const { name, isSession, id } = place();
  if (leave) leave();
  leave = null;
  nav.replaceChildren(
    ...Object.entries(TABS).map(([each, { title }]) =>
      h("a", { href: `#/${each}`, "aria-current": each === name ? "page" : null }, title),
    ),
  );
  nav.querySelector("[aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" });
  document.title = `${TABS[name].title} · DRepMRec studio`;
  const root = h("div", { class: `tab tab-${name}` });
  main.replaceChildren(root);
  leave = (await TABS[name].tab.open(root, { id, isSession })) ?? null;
}

/** Ask for a key, if the service wants one that this tab of the browser does not have. */
async function admitted() {
  try {
    await Promise.all([info(true), get("admin/bundles")]);
    return true;
  } catch (error) {
    if (![401, 403].includes(error.status)) throw error;
    askForKey(key.get() === null ? null : error.message);
    return false;
  }
}

function askForKey(refusal) {
  const input = h("input", { id: "key", type: "password", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    key.set(input.value.trim());
    start();
  };
  nav.replaceChildren();
  main.replaceChildren(
    h(
      "form",
      { class: "panel key", onsubmit: submit },
      h("h1", {}, "An API key is needed"),
      h(
        "p",
        {},
        "The studio reads, writes and administers, so it takes a key that has all of the " +
          "scopes read, write and admin. It is kept until this tab of the browser is closed.",
      ),
      refusal
        ? h("p", { class: "problem", role: "alert" }, `Not with this key: ${refusal}.`)
        : null,
      h("label", { for: "key" }, "API key"),
      input,
      h("button", { class: "main" }, "Open"),
    ),
  );
  input.focus();
}

async function start() {
  try {
    isOpen ||= await admitted();
    if (isOpen) await open();
  } catch (error) {
    if (!error.isApiError) console.error(error);
    main.replaceChildren(
      h(
        "p",
        { class: "problem", role: "alert" },
        error.message,
        " ",
        h("button", { onclick: start }, "Try again"),
      ),
    );
  }
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#/")) start();
});
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.isApiError) event.preventDefault();
  say(event.reason?.message ?? "Something went wrong.", true);
});
start();
