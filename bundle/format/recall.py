"""Recall of inverted lists against exact search, as the gate and the manifest have it."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bundle.format.lists import COMPARED, InvertedLists, ItemVectors
from bundle.types import Floats, Rows

RECALL_K = 20
"""Number of results per query when recall is measured: a page of recommendations."""


def search_recall(
    lists: InvertedLists, queries: Floats, excluded: Sequence[Rows], k: int = RECALL_K
) -> Floats:
    """Recall@k of each query [B] against exact search; a result with an equal score counts.

    Args:
        lists: the index.
        queries: [B, D].
        excluded: rows that must not be returned, for each query.
        k: number of results.
    """
    bounds = exact_bounds(lists.vectors, queries, excluded, k)
    shares = [
        # Float32 sums differ in the last bits.
        (scores >= bound - 1e-5 * abs(bound)).sum() / max(1, min(k, len(lists.vectors) - len(rows)))
        for (_, scores), bound, rows in zip(
            lists.search(queries, k, excluded), bounds.tolist(), excluded, strict=True
        )
    ]
    return np.array(shares, np.float32)


def exact_bounds(vectors: ItemVectors, queries: Floats, excluded: Sequence[Rows], k: int) -> Floats:
    """The k-th largest product of each query [B] with items that are not excluded, exactly.

    The smallest one, if fewer than k are not excluded.
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    ordered = [np.sort(rows) for rows in excluded]
    for start, stop in pairwise([*range(0, len(vectors), COMPARED), len(vectors)]):
        products = queries @ vectors[slice(start, stop)].T
        for n, rows in enumerate(ordered):
            first, last = rows.searchsorted([start, stop])
            products[n, rows[first:last] - start] = -np.inf
        together = np.concatenate([best, products], axis=1)
        best = np.partition(together, -k, axis=1)[:, -k:]
    best.sort(axis=1)
    n_found = np.isfinite(best).sum(axis=1)
    return np.asarray(best[np.arange(len(best)), np.minimum(k - n_found, k - 1)])
