"""From vectors to the top K: the one code path of the service and of the evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.index import search_selected
from bundle.loading import Bundle
from bundle.manifest import POPULARITY

NO_ITEMS = np.empty(0, np.int32)
FUSED = "fused"
COMPARED = 50_000
"""Allowed items that are compared one by one in a large catalogue: 25 MB with 128 columns."""


@dataclass(frozen=True)
class TopK:
    """Results of one query, best first; fewer than K if there are no more items.

    Attributes:
        item_idx: [≤K] int32.
        scores: [≤K] float32, descending; equal scores are ordered by item_idx.
    """

    item_idx: NDArray[np.int32]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class _Directions:
    """Vectors [I, ·] to be compared by cosine, with their lengths [I]."""

    vectors: NDArray[np.float32]
    lengths: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> "_Directions":
        return cls(vectors, np.linalg.norm(vectors, axis=1))


class Recommender:
    """Answers queries against one bundle. Safe to call from several threads."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        # Stable sort: items of equal popularity keep the order of their rows.
        self._by_popularity = np.argsort(-bundle.popularity, kind="stable").astype(np.int32)
        # What an item is like does not depend on how popular it is.
        last = bundle.manifest.parts[-1]
        columns = last.start if last.name == POPULARITY else last.stop
        self._directions = {FUSED: _Directions.of(bundle.item_vectors[:, :columns])}
        names = [part.name for part in bundle.manifest.parts]
        self.similarities = [FUSED, *(name for name in names if name != POPULARITY)]

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
        n_items = len(self.bundle.items)
        # What is excluded may sit on top: ask for so many more, and K are left in any case.
        wanted = min(n_items, k + max(len(items) for items in excluded))
        scores, found = self.bundle.index.search(vectors, wanted)
        return [
            _best(found[b].astype(np.int32), scores[b], k, excluded[b]) for b in range(len(vectors))
        ]

    def search_among(
        self,
        vector: NDArray[np.float32],
        k: int,
        excluded: NDArray[np.int32],
        allowed: NDArray[np.int32],
    ) -> TopK:
        """Items with the largest inner products among some of them; always k if there are k.

        A few allowed items are compared one by one. Many of a large catalogue are looked for in
        the index, which may find fewer than there are; then they are compared one by one, too.

        Args:
            vector: [D] query.
            k: results.
            excluded: item_idx that must not come back.
            allowed: item_idx that may, ascending.
        """
        if self.bundle.manifest.index.kind == "ivf" and len(allowed) > COMPARED:
            mask = np.zeros(len(self.bundle.items), np.bool_)
            mask[allowed] = True
            mask[excluded] = False
            wanted = min(k, int(mask.sum()))
            if wanted == 0:
                return TopK(NO_ITEMS, np.empty(0, np.float32))
            info = self.bundle.manifest.index
            scores, found = search_selected(self.bundle.index, info, vector, wanted, mask)
            top = _best(found.astype(np.int32), scores, k, NO_ITEMS)
            if len(top.item_idx) == wanted:
                return top
        candidates = np.setdiff1d(allowed, excluded, assume_unique=True)
        scores = self._scores(vector, candidates)
        if len(candidates) > k:
            best = np.argpartition(-scores, k - 1)[:k]
            candidates, scores = candidates[best], scores[best]
        return _best(candidates, scores, k, NO_ITEMS)

    def _scores(
        self, vector: NDArray[np.float32], item_idx: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Inner products with some items [n], in blocks: all their vectors would be a copy."""
        scores = np.empty(len(item_idx), np.float32)
        for start in range(0, len(item_idx), COMPARED):
            block = slice(start, start + COMPARED)
            scores[block] = self.bundle.item_vectors[item_idx[block]] @ vector
        return scores

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
        directions = self._directions[FUSED]
        lengths = np.maximum(directions.lengths[pool.item_idx, None], np.float32(1e-12))
        unit = directions.vectors[pool.item_idx] / lengths
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
            By part [n]; they add up to the scores.
        """
        manifest = self.bundle.manifest
        blocks = self.bundle.item_parts[item_idx]
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
        vectors = self._directions[FUSED].vectors
        products = np.maximum(vectors[item_idx] @ vectors[history].T, np.float32(0))
        shares: NDArray[np.float32] = products / np.maximum(products.sum(1, keepdims=True), 1e-12)
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
        if allowed is not None:
            left = np.setdiff1d(allowed, excluded, assume_unique=True)
            scores = self.bundle.popularity[left].astype(np.float32)
            return _best(left, scores, k, NO_ITEMS)
        candidates = self._by_popularity[: k + len(excluded)]
        scores = self.bundle.popularity[candidates].astype(np.float32)
        return _best(candidates, scores, k, excluded)

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
        """Items whose vectors have the largest cosine with one item's, without itself.

        Args:
            item_idx: the item.
            k: how many.
            by: one of `similarities`: the fused vectors without the popularity part, or what a
                line or modality adds to them.
            allowed: item_idx that may come back; all by default.

        An item without a vector (no interactions, no features) resembles nothing: no results.
        The search is exact: cosine is not what the index was built for.
        """
        directions = self._by(by)
        length = directions.lengths[item_idx]
        if length == 0.0:
            return TopK(NO_ITEMS, np.empty(0, np.float32))
        query = np.asarray(directions.vectors[item_idx]) / length
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = directions.vectors @ query / directions.lengths
        # 0/0: items without a vector go last, behind every cosine.
        cosines = np.where(directions.lengths > 0, cosines, np.float32(-2.0)).astype(np.float32)
        if allowed is not None:
            elsewhere = np.ones(len(cosines), np.bool_)
            elsewhere[allowed] = False
            cosines[elsewhere] = -2.0
        wanted = min(k + 1, len(cosines))
        nearest = np.argpartition(-cosines, wanted - 1)[:wanted].astype(np.int32)
        nearest = nearest[cosines[nearest] >= -1.5]
        return _best(nearest, cosines[nearest], k, np.array([item_idx], np.int32))

    def _by(self, name: str) -> _Directions:
        """Made when it is first asked for; two threads at once make the same."""
        found = self._directions.get(name)
        if found is None:
            number = [part.name for part in self.bundle.manifest.parts].index(name)
            columns = self.bundle.manifest.part_columns(number)
            found = self._directions[name] = _Directions.of(self.bundle.item_parts[:, columns])
        return found


def _best(
    item_idx: NDArray[np.int32],
    scores: NDArray[np.float32],
    k: int,
    excluded: NDArray[np.int32],
) -> TopK:
    keep = item_idx >= 0  # FAISS fills up with -1 when its lists hold fewer items
    if len(excluded):
        # np.isin gives the same and takes 10 µs more, a twentieth of a request.
        ordered = np.sort(excluded)
        keep &= ordered.take(ordered.searchsorted(item_idx), mode="clip") != item_idx
    item_idx, scores = item_idx[keep], scores[keep]
    order = np.lexsort((item_idx, -scores))[:k]
    return TopK(item_idx[order], scores[order])
