/** Tab "A user": what somebody liked, what is recommended for it and why, and what changes it. */

import { someUsers } from "./api.js";
import { strip, titleOf, userLink } from "./card.js";
import { controls } from "./controls.js";
import { duration, h, say, show } from "./dom.js";
import { legend, partNames } from "./parts.js";
import { cards, places, slide } from "./recommendations.js";
import { User, Visitor } from "./subjects.js";

const STEP = 12;
const HISTORY = 30;
const SOURCES = {
  known_user: "Answered from the vector that training made of this history",
  folded_in: "Answered from a vector made a moment ago of this history and the newest clicks",
  session: "Answered from a vector made for this request of the picked items",
  popular: "These are the most popular items, as nothing is known yet",
};

/** Open the tab for a user, a visitor, or the first user that is found. */
export async function open(root, { id, isSession }) {
  const suggested = await someUsers(5);
  const user = id || suggested[0];
  root.append(intro(), chooser(suggested, isSession ? null : user));
  if (!isSession && user === undefined) {
    root.append(h("p", {}, "The bundle has no users yet. Try the visitor."));
    return;
  }
  await person(root, isSession ? new Visitor() : new User(user), isSession ? null : user);
}

function intro() {
  return h(
    "p",
    { class: "intro" },
    "Recommendations learned from ",
    h("b", {}, "what people did"),
    " and from ",
    h("b", {}, "what the items look and read like"),
    ". Below: what somebody liked, what is recommended, and why. ",
    "Click a heart and watch the list change.",
  );
}

function chooser(suggested, user) {
  const input = h("input", { id: "user", value: user ?? "", autocomplete: "off", required: true });
  const submit = (event) => {
    event.preventDefault();
    location.hash = userLink(input.value);
  };
  const chip = (text, href, isIt) =>
    h("a", { class: "chip", href, "aria-current": isIt ? "true" : null }, text);
  return h(
    "div",
    { class: "chooser" },
    h(
      "form",
      { onsubmit: submit },
      h("label", { for: "user" }, "User"),
      input,
      h("button", {}, "Show"),
    ),
    h(
      "div",
      { class: "chips" },
      suggested.map((one) => chip(one, userLink(one), one === user)),
      chip("A visitor without an account", "#/session", user === null),
    ),
  );
}

async function person(root, subject, user) {
  const names = await partNames();
  const history = h("section", { class: "history", "aria-label": "History" });
  const list = h("div", { class: "list" });
  const heading = h(
    "h1",
    {},
    user === null ? "Recommended to a visitor" : `Recommended to ${user}`,
  );
  const source = h("p", { class: "quiet source" });
  const more = h(
    "button",
    { class: "more", onclick: () => refresh({ k: options.k + STEP }) },
    "Show more",
  );
  let options = { k: STEP, exclude_seen: true };
  let before = null;

  const act = {
    like: (shown) => count(shown, "like"),
    dislike: (shown) => count(shown, "dislike"),
  };

  async function count(shown, how) {
    await subject[how](shown.item_id);
    const left = await refresh({});
    const kept =
      left.kept === null
        ? ""
        : ` ${left.total - left.kept} of ${left.total} items are new or moved.`;
    say(`${how === "like" ? "Liked" : "Not"} “${titleOf(shown)}”.${kept}`);
    heading.focus();
  }

  async function refresh(changed) {
    options = { ...options, ...changed };
    const from = places(list);
    let moved = { kept: null, total: 0 };
    await show(list, async () => {
      const answer = await subject.recommend(options);
      const shown = await cards(answer, names, before, act);
      const ids = answer.items.map((found) => found.item_id);
      if (before)
        moved = { kept: ids.filter((id, place) => before[place] === id).length, total: ids.length };
      before = ids;
      source.textContent = describe(answer);
      more.hidden = ids.length < options.k;
      queueMicrotask(() => requestAnimationFrame(() => slide(list, from)));
      return ids.length
        ? shown
        : h("p", { class: "quiet" }, "Nothing is left that the options allow.");
    });
    show(history, () => past(subject, user));
    return moved;
  }

  heading.tabIndex = -1;
  root.append(
    history,
    h(
      "div",
      { class: "columns" },
      h(
        "section",
        { class: "recommended", "aria-label": "Recommendations" },
        heading,
        source,
        legend(names),
        list,
        more,
      ),
      controls(names, refresh),
    ),
  );
  await refresh({});
}

function describe({ source, degraded, vector_age: age, experiment }) {
  return [
    SOURCES[source],
    age > 120 ? `, ${duration(age)} ago` : "",
    experiment ? `; arm ${experiment.arm} of the experiment ${experiment.name}` : "",
    degraded ? ". A part of the service fails: newer clicks may be missing" : "",
    ".",
  ].join("");
}

async function past(subject, user) {
  const { liked, disliked, clicks } = await subject.history();
  if (!liked.length && !disliked.length) {
    return h(
      "p",
      { class: "quiet" },
      user === null
        ? "Nothing is known of this visitor. Pick what you like below."
        : "Nothing is known of this user. Click a heart below.",
    );
  }
  const count = `${liked.length} item${liked.length === 1 ? "" : "s"}`;
  const who = user === null ? "This visitor" : user;
  return [
    h(
      "h2",
      {},
      `${who} liked ${count}`,
      clicks ? h("small", {}, ` · ${clicks} since the last training`) : null,
    ),
    await strip(liked.slice(0, HISTORY), "Liked items"),
    disliked.length
      ? [h("h2", {}, "and not"), await strip(disliked.slice(0, HISTORY), "Disliked items")]
      : null,
  ].flat();
}
