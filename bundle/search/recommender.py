"""The recommender: from a user's vector to the top k items of one bundle.

It is the only code path of the service, of offline evaluation and of the gate: whatever a request
or an experiment's arm can ask for goes through `Recommender.run`.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.overlay import Overlay
from bundle.format.reader import Bundle
from bundle.search.diversity import diversify
from bundle.search.exact import compare
from bundle.search.item_search import open_item_search
from bundle.search.options import SearchOptions
from bundle.search.reweighting import (
    is_by_columns,
    search_boosted,
    search_by_parts,
    weighted_query,
)
from bundle.search.similarity import FUSED, Directions, Similarities
from bundle.search.topk import TopK, best_of, merge
from bundle.sorted_sets import difference, union
from bundle.types import NO_ITEMS, Floats, Rows

MANY_HIDDEN = 1_000
"""Number of hidden items above which a search goes through the visible ones only; below, it asks
for as many more results as items are hidden, and drops those."""


class Recommender:
    """Search in one bundle and the changes of its items. Safe to call from several threads.

    Args:
        bundle: the trained vectors, index and items.
        overlay: changes of items since the bundle was made; none by default.
    """

    def __init__(self, bundle: Bundle, overlay: Overlay | None = None) -> None:
        self.bundle = bundle
        self.catalogue = Catalogue(bundle, overlay)
        # Stable sort: items of equal popularity keep the order of their rows.
        self._by_popularity = np.argsort(-bundle.popularity, kind="stable").astype(np.int32)
        self.similarities = Similarities(bundle)
        self._items = open_item_search(bundle)

    def with_overlay(self, overlay: Overlay) -> "Recommender":
        """The same bundle with other changes; whatever depends on the bundle alone is shared."""
        other = copy(self)
        other.catalogue = Catalogue(self.bundle, overlay, self.catalogue.filters)
        return other

    def run(self, vector: Floats, options: SearchOptions) -> TopK:
        """Top k for a user vector [D] with all options."""
        return self.diversify(self.candidates(vector, options), options)

    def candidates(self, vector: Floats, options: SearchOptions) -> TopK:
        """The best `options.candidates` items, from which `diversify` chooses k.

        Args:
            vector: [D] query.
            options: which items may be returned, and how their scores are reweighted.
        """
        wanted, excluded, allowed = options.candidates, options.excluded, options.allowed
        weights, parts = options.weights, self.bundle.manifest.parts
        query = vector if weights is None else weighted_query(parts, vector, weights)
        by_parts = weights is not None and not is_by_columns(parts, weights)

        def among(rows: Rows | None) -> TopK:
            if weights is not None and by_parts:
                return search_by_parts(self.catalogue, vector, weights, wanted, excluded, rows)
            if rows is None:
                return self.search(query[None], wanted, [excluded])[0]
            return self.search_filtered(query, wanted, excluded, rows)

        if not options.boosts:
            return among(allowed)
        return search_boosted(
            among, options.boosts, wanted, self.catalogue.visible if allowed is None else allowed
        )

    def diversify(self, pool: TopK, options: SearchOptions) -> TopK:
        """The k results of a pool of candidates; the pool itself without diversity."""
        if not options.diversity:
            return pool
        columns = self.similarities.columns
        directions = Directions.of(self.catalogue.vectors(pool.item_idx)[:, :columns])
        lengths = np.maximum(directions.lengths[:, None], np.float32(1e-12))
        unit = (directions.vectors / lengths).astype(np.float32, copy=False)
        return diversify(pool, unit, options.k, options.diversity)

    def search(
        self,
        vectors: Floats,
        k: int,
        excluded: Sequence[Rows],
    ) -> list[TopK]:
        """Items with the largest inner products.

        Args:
            vectors: [B, D] queries.
            k: results for each query.
            excluded: for each query the item_idx that must not be returned.
        """
        hidden = self.catalogue.overlay.hidden
        if len(hidden) > MANY_HIDDEN:
            visible = self.catalogue.visible
            return [
                self.search_filtered(vector, k, items, visible)
                for vector, items in zip(vectors, excluded, strict=True)
            ]
        dropped = [union(items, hidden) for items in excluded] if len(hidden) else excluded
        added = len(self.catalogue.overlay.vectors)
        trained = dropped
        if added:
            n_bundle = self.catalogue.n_bundle
            trained = [items[items < n_bundle] for items in dropped]
        tops = self._items.search(vectors, k, trained)
        if added:
            asked = zip(tops, vectors, dropped, strict=True)
            tops = [self._with_added(top, vector, k, items) for top, vector, items in asked]
        return tops

    def _with_added(self, top: TopK, vector: Floats, k: int, excluded: Rows) -> TopK:
        """The best of a top k of the bundle and of all items that were added since."""
        overlay = self.catalogue.overlay
        rows = np.arange(len(self.bundle.items), len(self.catalogue), dtype=np.int32)
        return merge(top, best_of(rows, overlay.vectors @ vector, k, excluded), k)

    def search_filtered(
        self,
        vector: Floats,
        k: int,
        excluded: Rows,
        allowed: Rows,
    ) -> TopK:
        """Items with the largest inner products among allowed ones; always k if there are k.

        Args:
            vector: [D] query.
            k: results.
            excluded: item_idx that must not be returned.
            allowed: ascending item_idx that may be returned, none of them hidden.
        """
        n_bundle = self.catalogue.n_bundle
        split = int(np.searchsorted(allowed, n_bundle))
        ours = excluded[excluded < n_bundle]
        (top,) = self._items.search(vector[None], k, [ours], allowed[:split])
        if split == len(allowed):
            return top
        return merge(top, self.exact(vector, k, difference(allowed[split:], excluded)), k)

    def is_indexed(self, allowed: Rows | None) -> bool:
        """True if these item_idx, all if None, are searched by the index, which may miss some."""
        return not self._items.is_exact(allowed)

    def recall(
        self,
        vector: Floats,
        excluded: Rows,
        allowed: Rows | None,
        top: TopK,
    ) -> float:
        """Share of the exact top k that a search found; an item with an equal score counts.

        Args:
            vector: [D] query.
            excluded: item_idx that could not be returned.
            allowed: item_idx that could; None for all.
            top: the results of the search.
        """
        if not len(top.item_idx):
            return 1.0
        rows = self.catalogue.visible if allowed is None else allowed
        rows = difference(rows, excluded)
        exact = self.exact(vector, len(top.item_idx), rows)
        kth = exact.scores[-1]
        return float((top.scores >= kth - 1e-5 * abs(kth)).mean())

    def exact(self, vector: Floats, k: int, rows: Rows) -> TopK:
        """The best k of some items, by the score of each."""
        return compare(self.catalogue.vectors, vector, k, rows)

    def popular(
        self,
        k: int,
        excluded: Rows = NO_ITEMS,
        allowed: Rows | None = None,
    ) -> TopK:
        """The most popular items, scored by the number of train interactions.

        Args:
            k: results.
            excluded: item_idx that must not be returned.
            allowed: ascending item_idx that may be returned; all by default.
        """
        if allowed is None:
            overlay = self.catalogue.overlay
            dropped = union(excluded, overlay.hidden) if len(overlay.hidden) else excluded
            allowed = self._by_popularity[: k + len(dropped)]
            if len(overlay.added):
                added = np.arange(len(self.bundle.items), len(self.catalogue), dtype=np.int32)
                allowed = np.concatenate([allowed, added])
            excluded = dropped
        scores = self.catalogue.interactions(allowed).astype(np.float32)
        return best_of(allowed, scores, k, excluded)

    def run_each(
        self, vectors: Floats, options: SearchOptions, excluded: Sequence[Rows]
    ) -> list[TopK]:
        """`run` for user vectors [B, D]; zero vectors, of users without any, get popular items.

        Args:
            vectors: [B, D].
            options: of all of them, but for the excluded items.
            excluded: for each the item_idx that must not be returned.
        """
        if options.is_plain and not options.diversity:
            found = self.search(vectors, options.k, excluded)
        else:
            asked = zip(vectors, excluded, strict=True)
            found = [self.run(vector, options._replace(excluded=items)) for vector, items in asked]
        return [
            top if vector.any() else self.popular(options.k, items, options.allowed)
            for top, vector, items in zip(found, vectors, excluded, strict=True)
        ]

    def recommend(self, user_idx: Rows, k: int, excluded: Sequence[Rows]) -> list[TopK]:
        """Top k of known users [B]; users without interactions get the popular items."""
        vectors = np.asarray(self.bundle.user_vectors[user_idx])
        return self.run_each(vectors, SearchOptions(k), excluded)

    def similar(
        self,
        item_idx: int,
        k: int,
        by: str = FUSED,
        allowed: Rows | None = None,
    ) -> TopK:
        """The most similar items; see `Similarities.similar`."""
        return self.similarities.similar(self.catalogue, item_idx, k, by, allowed)
