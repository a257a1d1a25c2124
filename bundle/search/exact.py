"""Exact search: of a small catalogue by one matrix product, among some items one by one."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from bundle.format.scorer import ItemScorer
from bundle.search.topk import TopK, select
from bundle.sorted_sets import difference
from bundle.types import Floats, Rows, Vector

GROUP = 32
"""Number of scores per group in `largest` (two-level selection)."""
BLOCK = 20_000
"""Items whose vectors are copied at a time to compare them one by one: 10 MB with 128 columns."""


class ExactSearch:
    """Search by inner products with all items. Safe to call from several threads.

    Args:
        vectors: [I, D] float32.
        scorer: computes the products; None for a bundle that has no such model. NumPy then
            computes them from a transposed copy of the vectors.
    """

    def __init__(self, vectors: Floats, scorer: ItemScorer | None = None) -> None:
        self._vectors, self._scorer = vectors, scorer
        self._columns = np.ascontiguousarray(vectors.T) if scorer is None else None

    def is_exact(self, allowed: Rows | None) -> bool:  # noqa: ARG002
        """True; see `bundle.search.item_search`."""
        return True

    def search(
        self,
        queries: Floats,
        k: int,
        excluded: Sequence[Rows],
        allowed: Rows | None = None,
    ) -> list[TopK]:
        """See `bundle.search.item_search`."""
        if allowed is not None:
            return [
                compare(self._vectors.__getitem__, query, k, difference(allowed, rows))
                for query, rows in zip(queries, excluded, strict=True)
            ]
        scores = self._scores(queries)
        lengths = [len(rows) for rows in excluded]
        if any(lengths):
            of_query = np.arange(len(lengths)).repeat(lengths)
            scores[of_query, np.concatenate(excluded)] = -np.inf
        return largest(scores, k)

    def _scores(self, queries: Floats) -> Floats:
        if self._scorer is not None:
            return self._scorer.scores(queries)
        assert self._columns is not None
        return np.asarray(queries @ self._columns)


def compare(vectors: Callable[[Rows], Floats], query: Vector, k: int, rows: Rows) -> TopK:
    """The best k of some items, one by one.

    Args:
        vectors: returns vectors [n, D] of items [n].
        query: [D].
        k: number of results.
        rows: of the items.
    """
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        scores[block] = vectors(rows[block]) @ query
    return select(rows, scores, k)


def largest(products: Floats, k: int) -> list[TopK]:
    """The best k of each row of scores [B, I], without -inf.

    Two-level selection: a score below the k-th largest maximum of disjoint groups cannot be among
    the best k. So only few scores are sorted; np.argpartition over whole rows takes 2.3 times as
    long for 16 rows of 6,710.
    """
    n_rows, n_items = products.shape
    k = min(k, n_items)
    in_groups = n_items // GROUP * GROUP
    maxima = products[:, :in_groups].reshape(n_rows, GROUP, in_groups // GROUP).max(axis=1)
    maxima = np.concatenate([maxima, products[:, in_groups:]], axis=1)
    if k > maxima.shape[1]:
        maxima = products
    bounds = np.partition(maxima, -k, axis=1)[:, -k, None]
    cells = np.flatnonzero(products >= np.maximum(bounds, np.finfo(np.float32).min))
    rows, item_idx = np.divmod(cells, n_items)
    scores = products.ravel()[cells]
    order = np.lexsort((-scores, rows))  # stable: equal scores keep the order of their rows
    item_idx, scores = item_idx[order].astype(np.int32), scores[order]
    ends = rows.searchsorted(np.arange(n_rows + 1)).tolist()
    return [
        TopK(item_idx[start : min(end, start + k)], scores[start : min(end, start + k)])
        for start, end in pairwise(ends)
    ]
