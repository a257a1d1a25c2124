/** Elements of the page. Text only ever becomes text nodes: titles and ids are never HTML. */

/**
 * An element with attributes and children.
 *
 * `on…` attributes are listeners; true and false switch an attribute on and off; null and undefined
 * children are left out, and strings become text.
 */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined),
  );
  return element;
}

/** Show a sentence to everybody, readers of screens included, for some seconds. */
export function say(text, isError = false) {
  const status = document.getElementById("status");
  status.textContent = text;
  status.className = isError ? "shown error" : "shown";
  clearTimeout(say.timer);
  say.timer = setTimeout(() => status.classList.remove("shown"), isError ? 9000 : 5000);
}

/** A function that runs when it was not called again for some milliseconds. */
export function afterRest(milliseconds, work) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/**
 * Show what a promise gives in an element, unless something newer was shown there meanwhile.
 * An error becomes a sentence in its place.
 */
export async function show(element, work) {
  const mine = (element.latest = {});
  element.setAttribute("aria-busy", "true");
  let shown;
  try {
    shown = await work();
  } catch (error) {
    if (!error.isApiError) console.error(error);
    shown = h("p", { class: "problem", role: "alert" }, error.message);
  }
  if (element.latest !== mine) return;
  element.removeAttribute("aria-busy");
  element.replaceChildren(...[shown].flat().filter(Boolean));
}

export const number = (value, digits = 3) =>
  value.toLocaleString("en", { maximumFractionDigits: digits });

export const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

/** A time span in the unit that people would use. */
export function duration(seconds) {
  for (const [unit, length] of [
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ]) {
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}s`;
  }
  return `${Math.round(seconds)} s`;
}
