"""Results of one query."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.overlay import NO_ITEMS

GROUP = 32
"""Scores of a group of `largest`."""


class TopK(NamedTuple):
    """Results of one query, best first; fewer than K if there are no more items.

    A frozen dataclass takes 1 µs longer to make.

    Attributes:
        item_idx: [≤K] int32.
        scores: [≤K] float32, descending; equal scores are ordered by item_idx.
    """

    item_idx: NDArray[np.int32]
    scores: NDArray[np.float32]


def best_of(
    item_idx: NDArray[np.int32],
    scores: NDArray[np.float32],
    k: int,
    excluded: NDArray[np.int32] = NO_ITEMS,
) -> TopK:
    """The best k of some scored items [n] in any order, -1 and what is excluded left out."""
    keep = item_idx >= 0  # FAISS fills up with -1 when its lists hold fewer items
    if len(excluded):
        # np.isin gives the same and takes 10 µs more, a twentieth of a request.
        ordered = np.sort(excluded)
        keep &= ordered.take(ordered.searchsorted(item_idx), mode="clip") != item_idx
    item_idx, scores = item_idx[keep], scores[keep]
    order = np.lexsort((item_idx, -scores))[:k]
    return TopK(item_idx[order], scores[order])


def best_of_each(
    item_idx: NDArray[np.int32],
    scores: NDArray[np.float32],
    k: int,
    excluded: Sequence[NDArray[np.int32]],
) -> list[TopK]:
    """`best_of` of each row of results [B, n] that are in order already.

    All rows at once: a dozen calls of NumPy for a batch and not for each query.
    """
    keep = item_idx >= 0
    lengths = [len(items) for items in excluded]
    if any(lengths):
        # One number for each row and item.
        offsets = np.arange(len(item_idx)) << 32
        taken = np.sort(np.concatenate(excluded) + offsets.repeat(lengths))
        keys = item_idx + offsets[:, None]
        keep &= taken.take(taken.searchsorted(keys), mode="clip") != keys
    # What is kept comes first, in its order.
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    counts = np.minimum(keep.sum(axis=1), k).tolist()
    by_row = np.arange(len(item_idx))[:, None]
    rows, values = item_idx[by_row, order], scores[by_row, order]
    return [TopK(rows[n, :count], values[n, :count]) for n, count in enumerate(counts)]


def largest(products: NDArray[np.float32], k: int) -> list[TopK]:
    """The best k of each row of scores [B, I]; -inf is left out.

    A score below the k-th largest maximum of disjoint groups is not among the best k: few are left
    to be ordered, in less time than a selection in whole rows takes.
    """
    n_rows, n_items = products.shape
    k = min(k, n_items)
    in_groups = n_items // GROUP * GROUP
    maxima = products[:, :in_groups].reshape(n_rows, GROUP, -1).max(axis=1)
    maxima = np.concatenate([maxima, products[:, in_groups:]], axis=1)
    if k > maxima.shape[1]:
        maxima = products
    bounds = np.partition(maxima, -k, axis=1)[:, -k, None]
    cells = np.flatnonzero(products >= np.maximum(bounds, np.finfo(np.float32).min))
    rows, item_idx = np.divmod(cells, n_items)
    scores = products.ravel()[cells]
    order = np.lexsort((-scores, rows))  # it is stable: of equal scores the first comes first
    item_idx, scores = item_idx[order].astype(np.int32), scores[order]
    ends = rows.searchsorted(np.arange(n_rows + 1)).tolist()
    return [
        TopK(item_idx[start : min(end, start + k)], scores[start : min(end, start + k)])
        for start, end in pairwise(ends)
    ]


def merge(one: TopK, other: TopK, k: int) -> TopK:
    """The best k of two results without common items."""
    rows = np.concatenate([one.item_idx, other.item_idx])
    return best_of(rows, np.concatenate([one.scores, other.scores]), k)
