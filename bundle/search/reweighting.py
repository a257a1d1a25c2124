"""Reweighted search: weights of lines and modalities, and boosts of some items.

Both are exact: k items are returned in the order of the reweighted scores.
"""

from collections.abc import Callable, Sequence

import numpy as np

from bundle.catalogue.catalogue import Catalogue
from bundle.format.manifest import Part
from bundle.search.exact import BLOCK
from bundle.search.options import Boost
from bundle.search.topk import TopK, best_of, merge, select
from bundle.sorted_sets import difference, unique
from bundle.types import Rows, Vector


def weighted_query(parts: Sequence[Part], vector: Vector, weights: Sequence[float]) -> Vector:
    """A query [D] whose columns are scaled by the weights of the parts that they belong to.

    Where parts share columns, the factor is the mean of their weights: exact if they are equal,
    otherwise the best estimate for an item whose vector is not the bundle's.
    """
    total, count = np.zeros_like(vector), np.zeros_like(vector)
    for part, weight in zip(parts, weights, strict=True):
        total[part.start : part.stop] += weight
        count[part.start : part.stop] += 1
    return (vector * total / np.maximum(count, 1)).astype(np.float32, copy=False)


def is_by_columns(parts: Sequence[Part], weights: Sequence[float]) -> bool:
    """True if parts that share columns have the same weight, so that a scaled query is exact."""
    return all(
        one == other or left.stop <= right.start or right.stop <= left.start
        for one, left in zip(weights, parts, strict=True)
        for other, right in zip(weights, parts, strict=True)
    )


def search_by_parts(
    catalogue: Catalogue,
    vector: Vector,
    weights: Sequence[float],
    k: int,
    excluded: Rows,
    allowed: Rows | None,
) -> TopK:
    """Top k by Σ_p weight_p · ⟨user's columns, what part p adds⟩, item by item.

    Args:
        catalogue: the items as they are now.
        vector: [D] query.
        weights: one for each part.
        k: number of results.
        excluded: item_idx that must not be returned.
        allowed: ascending item_idx that may be returned; all by default.
    """
    bundle = catalogue.bundle
    parts = bundle.manifest.parts
    pieces = [
        weight * vector[part.start : part.stop] for part, weight in zip(parts, weights, strict=True)
    ]
    query = np.concatenate(pieces).astype(np.float32)
    rows = difference(catalogue.visible if allowed is None else allowed, excluded)
    split = int(np.searchsorted(rows, catalogue.n_bundle))
    scores = np.empty(len(rows), np.float32)
    for start in range(0, split, BLOCK):
        block = slice(start, min(start + BLOCK, split))
        scores[block] = bundle.item_parts[rows[block]] @ query
    scores[split:] = catalogue.vectors(rows[split:]) @ weighted_query(parts, vector, weights)
    return select(rows, scores, k)


def search_boosted(
    search: Callable[[Rows], TopK], boosts: Sequence[Boost], k: int, allowed: Rows
) -> TopK:
    """Top k of scores plus boosts.

    Items that get the same boosts keep their order, so the best of each such group are enough.

    Args:
        search: top k by the score alone, among some items.
        boosts: at most 30.
        k: number of results.
        allowed: ascending item_idx that may be returned.
    """
    groups = np.zeros(int(allowed[-1]) + 1 if len(allowed) else 0, np.int32)
    for number, boost in enumerate(boosts):
        groups[boost.items[boost.items < len(groups)]] |= 1 << number
    groups = groups[allowed]
    found = best_of(allowed[:0], np.empty(0, np.float32), k)
    for group in unique(groups).tolist():
        top = search(allowed[groups == group])
        amount = sum(boost.amount for n, boost in enumerate(boosts) if group >> n & 1)
        found = merge(found, TopK(top.item_idx, top.scores + np.float32(amount)), k)
    return found
