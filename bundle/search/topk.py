"""Top-k selection: the best k of scored items, for one query or a batch."""

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


def merge(one: TopK, other: TopK, k: int) -> TopK:
    """The best k of two results without common items."""
    rows = np.concatenate([one.item_idx, other.item_idx])
    return best_of(rows, np.concatenate([one.scores, other.scores]), k)
