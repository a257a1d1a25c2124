/** Whom recommendations are for: a user of the service, or a visitor whom only this page knows. */

import { get, info, path, popular, post } from "./api.js";

const LIKE = "like";
const DISLIKE = "dislike";
const DISLIKE_WEIGHT = -0.5;

/** A user of the service: clicks are events, and the next answer counts them. */
export class User {
  constructor(id) {
    this.id = id;
  }

  async recommend(options) {
    const answer = await get(path("recommend", this.id), { ...options, explain: true });
    this.isUnknown = answer.fallback_reason === "unknown_user";
    return answer;
  }

  /** What the user liked and disliked: clicks, the newest first, then what training knew. */
  async history() {
    if (this.isUnknown) return { liked: [], disliked: [] };
    const { interactions, events } = await get(path("users", this.id));
    const newest = new Map();
    for (const event of events) {
      newest.delete(event.item_id);
      newest.set(event.item_id, event.weight);
    }
    const recent = [...newest].reverse();
    return {
      liked: [
        ...recent.filter(([, weight]) => weight > 0).map(([id]) => id),
        ...interactions.filter((id) => !newest.has(id)),
      ],
      disliked: recent.filter(([, weight]) => weight < 0).map(([id]) => id),
      clicks: newest.size,
    };
  }

  like = (id) => this.#store(id, LIKE);

  async dislike(id) {
    const { event_weights: weights } = (await info()).settings;
    return this.#store(id, DISLIKE, weights[DISLIKE] < 0 ? undefined : DISLIKE_WEIGHT);
  }

  #store(id, type, weight) {
    return post("events", { events: [{ user_id: this.id, item_id: id, type, weight }] });
  }
}

/** A visitor without an account: what was clicked is sent with each request and stored nowhere. */
export class Visitor {
  #liked = [];
  #disliked = [];

  async recommend({ exclude_seen: exclude, ...options }) {
    if (!this.#liked.length) {
      return { source: "popular", items: await popular(options.k, options.filter) };
    }
    return post("recommend/items", {
      ...options,
      items: this.#liked.map((id) => ({ item_id: id })),
      disliked: this.#disliked,
      exclude_items: exclude,
      explain: true,
    });
  }

  async history() {
    return { liked: [...this.#liked].reverse(), disliked: [...this.#disliked].reverse() };
  }

  like(id) {
    this.#forget(id);
    this.#liked.push(id);
  }

  dislike(id) {
    this.#forget(id);
    this.#disliked.push(id);
  }

  #forget(id) {
    this.#liked = this.#liked.filter((one) => one !== id);
    this.#disliked = this.#disliked.filter((one) => one !== id);
  }
}
