"""Top-k selection: the best k of scored items, for one query or a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bundle.sorted_sets import is_member
from bundle.types import NO_ITEMS, Floats, Rows


class TopK(NamedTuple):
    """Results of one query, best first; fewer than k if there are no more items.

    A NamedTuple, because a frozen dataclass takes 1 µs longer to construct.

    Attributes:
        item_idx: [≤k] int32.
        scores: [≤k] float32, descending. Equal scores are ordered by item_idx.
    """

    item_idx: Rows
    scores: Floats


def best_of(
    item_idx: Rows,
    scores: Floats,
    k: int,
    excluded: Rows = NO_ITEMS,
) -> TopK:
    """The best k of scored items [n] in any order, without item_idx -1 and excluded ones."""
    keep = item_idx >= 0  # FAISS pads with -1 if its lists hold fewer items
    if len(excluded):
        keep &= ~is_member(item_idx, np.sort(excluded))
    item_idx, scores = item_idx[keep], scores[keep]
    order = np.lexsort((item_idx, -scores))[:k]
    return TopK(item_idx[order], scores[order])


def select(item_idx: Rows, scores: Floats, k: int) -> TopK:
    """The best k of many scored items [n]; the k best are selected before they are sorted."""
    if len(item_idx) > k:
        best = np.argpartition(-scores, k - 1)[:k]
        item_idx, scores = item_idx[best], scores[best]
    return best_of(item_idx, scores, k)


def best_of_each(
    item_idx: Rows,
    scores: Floats,
    k: int,
    excluded: Sequence[Rows],
) -> list[TopK]:
    """`best_of` for each row of sorted results [B, n].

    It handles all rows at once: a dozen NumPy calls per batch instead of per query.
    """
    keep = item_idx >= 0
    lengths = [len(items) for items in excluded]
    if any(lengths):
        # One number per pair of row and item.
        offsets = np.arange(len(item_idx)) << 32
        taken = np.sort(np.concatenate(excluded) + offsets.repeat(lengths))
        keep &= ~is_member(item_idx + offsets[:, None], taken)
    # A stable sort moves the kept ones to the front and keeps their order.
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    counts = np.minimum(keep.sum(axis=1), k).tolist()
    by_row = np.arange(len(item_idx))[:, None]
    rows, values = item_idx[by_row, order], scores[by_row, order]
    return [TopK(rows[n, :count], values[n, :count]) for n, count in enumerate(counts)]


def merge(one: TopK, other: TopK, k: int) -> TopK:
    """The best k of two results without common items."""
    rows = np.concatenate([one.item_idx, other.item_idx])
    return best_of(rows, np.concatenate([one.scores, other.scores]), k)
