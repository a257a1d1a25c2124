/** The public HTTP API, and what the page remembers of its answers. */

const ROOT = new URL("..", import.meta.url);
const KEY = "drepmrec-key";
const items = new Map();
const pictures = new Map();
let described;

class ApiError extends Error {
  isApiError = true;

  constructor(status, { code, message, field }) {
    super(message);
    Object.assign(this, { status, code, field });
  }
}

/** The key is kept for as long as this tab of the browser is open. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** A path with an id as its last segment; an id may have any characters. */
export const path = (start, id) => `${start}/${encodeURIComponent(id)}`;

/** Send a request and return the response, or throw an ApiError. */
export async function send(method, where, { query = {}, body } = {}) {
  const url = new URL(where, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.append(name, value);
  }
  const headers = key.get() ? { "X-API-Key": key.get() } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new ApiError(0, { code: "unreachable", message: "The service does not answer." });
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new ApiError(response.status, error ?? { message: `HTTP status ${response.status}` });
}

export const get = async (where, query) => (await send("GET", where, { query })).json();
export const post = async (where, body) => (await send("POST", where, { body })).json();
export const put = async (where, body) => (await send("PUT", where, { body })).json();
export const remove = (where) => send("DELETE", where);

/** `/info`, asked once until `again`. */
export function info(again = false) {
  if (again || !described) described = get("info").catch(forgetting(() => (described = undefined)));
  return described;
}

/** An item, asked once; one that is gone has no columns. */
export function item(id) {
  if (!items.has(id)) {
    const gone = { item_id: id, columns: {}, gone: true };
    const found = get(path("items", id)).catch((error) => {
      if (error.code === "unknown_item") return gone;
      throw error;
    });
    items.set(id, found.catch(forgetting(() => items.delete(id))));
  }
  return items.get(id);
}

/** Ask for an item again the next time. */
export const forgetItem = (id) => items.delete(id);

const forgetting = (forget) => (error) => {
  forget();
  throw error;
};

/** Values of the columns of all items that were asked for, the most frequent first, by column. */
export async function knownValues() {
  const counts = {};
  for (const { columns } of await Promise.all(items.values())) {
    for (const [name, value] of Object.entries(columns)) {
      for (const one of [value].flat()) {
        if (one === null) continue;
        const values = (counts[name] ??= new Map());
        values.set(one, (values.get(one) ?? 0) + 1);
      }
    }
  }
  const sorted = (values) => [...values].sort((a, b) => b[1] - a[1]).map(([value]) => value);
  return Object.fromEntries(Object.entries(counts).map(([name, values]) => [name, sorted(values)]));
}

/** The address of an item's picture; null if it has none. */
export async function picture({ item_id: id, columns }) {
  if (pictures.has(id)) return pictures.get(id);
  const isThere = columns.image ?? columns.image_path;
  if (!isThere || !(await info()).settings.pictures) return null;
  const where = path("pictures", id);
  if (!key.get()) return new URL(where, ROOT).href;
  // An image element cannot send a key.
  const fetched = send("GET", where)
    .then((response) => response.blob())
    .then((blob) => URL.createObjectURL(blob))
    .catch(() => null);
  pictures.set(id, fetched);
  return fetched;
}

/** Use a picture that only this page has, as that of an item. */
export const rememberPicture = (id, address) => pictures.set(id, address);

/** The k most popular items that a filter allows: what a session without known items gets. */
export async function popular(k, filter) {
  const nothing = { item_id: `studio-${crypto.getRandomValues(new Uint32Array(2)).join("-")}` };
  return (await post("recommend/items", { items: [nothing], k, filter: filter || null })).items;
}

/** Ids of some users: those for whom popular items are. */
export async function someUsers(k) {
  const found = new Set();
  for (const { item_id: id } of await popular(5)) {
    const { users } = await get(path("audience", id), { k: Math.max(k, 10) });
    for (const { user_id: user } of users) found.add(user);
    if (found.size >= k) break;
  }
  return [...found].slice(0, k);
}
