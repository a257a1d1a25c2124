"""From vectors to the top K: the one code path of the service and of the evaluation."""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from bundle.among import COMPARED, search_index
from bundle.catalogue import Catalogue
from bundle.exact import ExactSearch
from bundle.index import search_lists
from bundle.loading import Bundle
from bundle.overlay import NO_ITEMS, Overlay
from bundle.similarity import FUSED, Directions, Similarities
from bundle.topk import TopK, best_of, best_of_each, merge

FEW_EXCLUDED = 100
"""A query of the index that excludes more asks for more results than others should pay for."""
MANY_HIDDEN = 1_000
"""With more hidden items, the others are looked for among all; with fewer, hidden ones are dropped
from so many more results."""


class Recommender:
    """Answers queries against one bundle and what changed since. Safe to call from several threads.

    Args:
        bundle: what was trained.
        overlay: what changed since; nothing by default.
    """

    def __init__(self, bundle: Bundle, overlay: Overlay | None = None) -> None:
        self.bundle = bundle
        self.catalogue = Catalogue(bundle, overlay)
        # Stable sort: items of equal popularity keep the order of their rows.
        self._by_popularity = np.argsort(-bundle.popularity, kind="stable").astype(np.int32)
        self.similarities = Similarities(bundle)
        is_flat = bundle.manifest.index.kind == "flat"
        self._exact = ExactSearch(bundle.item_vectors) if is_flat else None

    def with_overlay(self, overlay: Overlay) -> "Recommender":
        """The same bundle with other changes; what depends on the bundle alone is shared."""
        other = copy(self)
        other.catalogue = Catalogue(self.bundle, overlay, self.catalogue.filters)
        return other

    def search(
        self,
        vectors: NDArray[np.float32],
        k: int,
        excluded: Sequence[NDArray[np.int32]],
    ) -> list[TopK]:
        """Items with the largest inner products.

        Args:
            vectors: [B, D] queries.
            k: results for each query.
            excluded: for each query the item_idx that must not come back.
        """
        hidden = self.catalogue.overlay.hidden
        if len(hidden) > MANY_HIDDEN:
            visible = self.catalogue.visible
            return [
                self.search_among(vector, k, items, visible)
                for vector, items in zip(vectors, excluded, strict=True)
            ]
        dropped = [np.union1d(items, hidden) for items in excluded] if len(hidden) else excluded
        added = len(self.catalogue.overlay.added)
        if self._exact is not None:
            n_items = len(self.bundle.items)
            trained = [items[items < n_items] for items in dropped] if added else dropped
            tops = self._exact.search(vectors, k, trained)
        else:
            tops = self._search_index(vectors, k, dropped)
        if added:
            asked = zip(tops, vectors, dropped, strict=True)
            tops = [self._with_added(top, vector, k, items) for top, vector, items in asked]
        return tops

    def _search_index(
        self,
        vectors: NDArray[np.float32],
        k: int,
        excluded: Sequence[NDArray[np.int32]],
    ) -> list[TopK]:
        """The best of the bundle's items, by its inverted lists."""
        tops: dict[int, TopK] = {}
        few = [n for n, items in enumerate(excluded) if len(items) <= FEW_EXCLUDED]
        many = [[n] for n, items in enumerate(excluded) if len(items) > FEW_EXCLUDED]
        for group in filter(None, [few, *many]):
            dropped = [excluded[n] for n in group]
            # What is excluded may sit on top: ask for so many more, and K are left in any case.
            wanted = min(len(self.bundle.items), k + max(map(len, dropped)))
            scores, found = self.bundle.index.search(vectors[group], wanted)
            best = best_of_each(found.astype(np.int32), scores, k, dropped)
            for n, top, items in zip(group, best, dropped, strict=True):
                tops[n] = self._enough(top, vectors[n], k, items)
        return [tops[n] for n in range(len(vectors))]

    def _enough(
        self, top: TopK, vector: NDArray[np.float32], k: int, excluded: NDArray[np.int32]
    ) -> TopK:
        """A top k of the index, from more of its lists if those that it visits hold fewer."""
        index, lists = self.bundle.index, self.bundle.manifest.index.nprobe
        wanted = min(len(self.bundle.items), k + len(excluded))
        while len(top.item_idx) < min(k, wanted - len(excluded)) and lists < index.nlist:
            lists *= 4
            scores, rows = search_lists(index, vector, wanted, lists)
            top = best_of(rows, scores, k, excluded)
        return top

    def _with_added(
        self, top: TopK, vector: NDArray[np.float32], k: int, excluded: NDArray[np.int32]
    ) -> TopK:
        """The best of a top k of the bundle and of all items that came since."""
        overlay = self.catalogue.overlay
        rows = np.arange(len(self.bundle.items), len(self.catalogue), dtype=np.int32)
        return merge(top, best_of(rows, overlay.vectors @ vector, k, excluded), k)

    def search_among(
        self,
        vector: NDArray[np.float32],
        k: int,
        excluded: NDArray[np.int32],
        allowed: NDArray[np.int32],
    ) -> TopK:
        """Items with the largest inner products among some of them; always k if there are k.

        Args:
            vector: [D] query.
            k: results.
            excluded: item_idx that must not come back.
            allowed: item_idx that may, ascending, none of them hidden.
        """
        split = int(np.searchsorted(allowed, len(self.bundle.items)))
        if self.is_indexed(allowed[:split]):
            index, info = self.bundle.index, self.bundle.manifest.index
            # What is excluded may sit on top.
            wanted = k + len(excluded)
            for scores, rows in search_index(index, info, vector, wanted, allowed[:split]):
                top = best_of(rows, scores, k, excluded)
                if len(top.item_idx) == k:
                    added = allowed[split:]
                    return merge(top, best_of(added, self._scores(vector, added), k, excluded), k)
        return self.exact(vector, k, np.setdiff1d(allowed, excluded, assume_unique=True))

    def is_indexed(self, allowed: NDArray[np.int32] | None) -> bool:
        """Whether the index looks for these item_idx, all by default, so that it may miss some."""
        is_flat = self.bundle.manifest.index.kind == "flat"
        return not is_flat and (allowed is None or len(allowed) > COMPARED)

    def recall(
        self,
        vector: NDArray[np.float32],
        excluded: NDArray[np.int32],
        allowed: NDArray[np.int32] | None,
        top: TopK,
    ) -> float:
        """Share of the exact top k that a search found; an item with an equal score counts.

        Args:
            vector: [D] query.
            excluded: item_idx that could not come back.
            allowed: item_idx that could; None for all.
            top: what came back.
        """
        if not len(top.item_idx):
            return 1.0
        rows = self.catalogue.visible if allowed is None else allowed
        rows = np.setdiff1d(rows, excluded, assume_unique=True)
        exact = self.exact(vector, len(top.item_idx), rows)
        kth = exact.scores[-1]
        return float((top.scores >= kth - 1e-5 * abs(kth)).mean())

    def exact(self, vector: NDArray[np.float32], k: int, rows: NDArray[np.int32]) -> TopK:
        """The best k of some items, one by one."""
        scores = self._scores(vector, rows)
        if len(rows) > k:
            best = np.argpartition(-scores, k - 1)[:k]
            rows, scores = rows[best], scores[best]
        return best_of(rows, scores, k)

    def _scores(
        self, vector: NDArray[np.float32], item_idx: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Inner products with some items [n], in blocks: all their vectors would be a copy."""
        scores = np.empty(len(item_idx), np.float32)
        for start in range(0, len(item_idx), COMPARED):
            block = slice(start, start + COMPARED)
            scores[block] = self.catalogue.vectors(item_idx[block]) @ vector
        return scores

    def _likeness(self, item_idx: NDArray[np.int32]) -> NDArray[np.float32]:
        """The columns [n, ·] of some items but popularity."""
        return self.catalogue.vectors(item_idx)[:, : self.similarities.columns]

    def _unit_vectors(self, item_idx: NDArray[np.int32]) -> NDArray[np.float32]:
        """Directions [n, ·] of some items without their popularity."""
        directions = Directions.of(self._likeness(item_idx))
        lengths = np.maximum(directions.lengths[:, None], np.float32(1e-12))
        return (directions.vectors / lengths).astype(np.float32, copy=False)

    def diversify(self, pool: TopK, k: int, diversity: float) -> TopK:
        """Choose k of a pool by maximal marginal relevance (Carbonell & Goldstein 1998).

        One after another, the item with the largest (1 − diversity) · score − diversity · largest
        cosine with those already chosen.

        Args:
            pool: more than k results.
            k: how many to choose.
            diversity: 0 keeps the order of the scores, 1 looks at the cosines alone.

        Returns:
            In the order of choice, with the scores as they were.
        """
        unit = self._unit_vectors(pool.item_idx)
        value = (1 - diversity) * pool.scores
        nearest = np.full(len(value), -1.0, np.float32)
        chosen: list[int] = []
        for _ in range(min(k, len(value))):
            marginal = value - diversity * nearest if chosen else value
            marginal[chosen] = -np.inf
            chosen.append(int(np.argmax(marginal)))
            nearest = np.maximum(nearest, unit @ unit[chosen[-1]])
        return TopK(pool.item_idx[chosen], pool.scores[chosen])

    def parts(
        self, vector: NDArray[np.float32], item_idx: NDArray[np.int32]
    ) -> dict[str, NDArray[np.float32]]:
        """What each line, modality and popularity adds to the scores of some items.

        Args:
            vector: [D] query.
            item_idx: [n].

        Returns:
            By part [n]; they add up to the scores. NaN for items whose vector is not the bundle's:
            the item encoder does not say what of it came from which modality.
        """
        manifest = self.bundle.manifest
        is_added = item_idx >= len(self.bundle.items)
        blocks = np.asarray(self.bundle.item_parts[np.where(is_added, 0, item_idx)])
        blocks[is_added] = np.nan
        return {
            part.name: blocks[:, manifest.part_columns(number)] @ vector[part.start : part.stop]
            for number, part in enumerate(manifest.parts)
        }

    def influence(
        self, history: NDArray[np.int32], item_idx: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """How much each item of a history speaks for some items: [n, H], rows of sum 1 at most.

        A folded-in user is the mean of the history's vectors, so that a score without its
        popularity part is a sum over the history of ⟨z_j, z_i⟩; this is each one's share of what
        speaks for item i, what speaks against it left out.
        """
        mine, its = self._likeness(history), self._likeness(item_idx)
        products = np.maximum(its @ mine.T, np.float32(0))
        least = np.float32(1e-12)
        shares: NDArray[np.float32] = products / np.maximum(products.sum(1, keepdims=True), least)
        return shares

    def popular(
        self,
        k: int,
        excluded: NDArray[np.int32] = NO_ITEMS,
        allowed: NDArray[np.int32] | None = None,
    ) -> TopK:
        """The most popular items; the score is the number of train interactions.

        Args:
            k: results.
            excluded: item_idx that must not come back.
            allowed: item_idx that may, ascending; all by default.
        """
        if allowed is None:
            overlay = self.catalogue.overlay
            dropped = np.union1d(excluded, overlay.hidden) if len(overlay.hidden) else excluded
            allowed = self._by_popularity[: k + len(dropped)]
            if len(overlay.added):
                added = np.arange(len(self.bundle.items), len(self.catalogue), dtype=np.int32)
                allowed = np.concatenate([allowed, added])
            excluded = dropped
        scores = self.catalogue.interactions(allowed).astype(np.float32)
        return best_of(allowed, scores, k, excluded)

    def recommend(
        self, user_idx: NDArray[np.int32], k: int, excluded: Sequence[NDArray[np.int32]]
    ) -> list[TopK]:
        """Top K of known users [B]; who has no interactions gets the popular items."""
        vectors = np.asarray(self.bundle.user_vectors[user_idx])
        results = self.search(vectors, k, excluded)
        for b, vector in enumerate(vectors):
            if not vector.any():
                results[b] = self.popular(k, excluded[b])
        return results

    def similar(
        self,
        item_idx: int,
        k: int,
        by: str = FUSED,
        allowed: NDArray[np.int32] | None = None,
    ) -> TopK:
        """The most similar items; see `Similarities.similar`."""
        return self.similarities.similar(self.catalogue, item_idx, k, by, allowed)
