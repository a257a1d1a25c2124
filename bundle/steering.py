"""Searches that the caller steers: weights of lines and modalities, boosts of some items.

Both are exact: K items come back in the order of the steered scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.among import COMPARED
from bundle.overlay import Rows
from bundle.recommender import Recommender
from bundle.topk import TopK, best_of, merge

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Boost:
    """An amount that is added to the scores of some items.

    Attributes:
        amount: below 0 it pushes them down.
        items: ascending item_idx.
    """

    amount: float
    items: Rows


def part_weights(recommender: Recommender, weights: Mapping[str, float]) -> list[float]:
    """The factor of each of the bundle's parts; 1 where none is given."""
    return [weights.get(part.name, 1.0) for part in recommender.bundle.manifest.parts]


def weighted_query(recommender: Recommender, vector: Vector, factors: Sequence[float]) -> Vector:
    """A query [D] whose columns are scaled by the factors of the parts that add to them.

    Where parts share columns, it is the mean of their factors: right if they are equal, else the
    best that can be said of an item whose vector is not the bundle's.
    """
    total, count = np.zeros_like(vector), np.zeros_like(vector)
    for part, factor in zip(recommender.bundle.manifest.parts, factors, strict=True):
        total[part.start : part.stop] += factor
        count[part.start : part.stop] += 1
    return (vector * total / np.maximum(count, 1)).astype(np.float32, copy=False)


def is_by_columns(recommender: Recommender, factors: Sequence[float]) -> bool:
    """Whether parts that share columns have one factor, so that a scaled query says it all."""
    parts = recommender.bundle.manifest.parts
    return all(
        one == other or left.stop <= right.start or right.stop <= left.start
        for one, left in zip(factors, parts, strict=True)
        for other, right in zip(factors, parts, strict=True)
    )


def search_by_parts(
    recommender: Recommender,
    vector: Vector,
    factors: Sequence[float],
    k: int,
    excluded: Rows,
    allowed: Rows | None,
) -> TopK:
    """Top k by Σ_p factor_p · ⟨user's columns, what part p adds⟩, item by item.

    Args:
        recommender: of the bundle.
        vector: [D] query.
        factors: one for each part.
        k: results.
        excluded: item_idx that must not come back.
        allowed: item_idx that may, ascending; all by default.
    """
    bundle = recommender.bundle
    pieces = [
        factor * vector[part.start : part.stop]
        for part, factor in zip(bundle.manifest.parts, factors, strict=True)
    ]
    query = np.concatenate(pieces).astype(np.float32)
    catalogue = recommender.catalogue
    rows = np.setdiff1d(
        catalogue.visible if allowed is None else allowed, excluded, assume_unique=True
    )
    split = int(np.searchsorted(rows, catalogue.n_bundle))
    scores = np.empty(len(rows), np.float32)
    for start in range(0, split, COMPARED):
        block = slice(start, min(start + COMPARED, split))
        scores[block] = bundle.item_parts[rows[block]] @ query
    scores[split:] = catalogue.vectors(rows[split:]) @ weighted_query(recommender, vector, factors)
    if len(rows) > k:
        best = np.argpartition(-scores, k - 1)[:k]
        rows, scores = rows[best], scores[best]
    return best_of(rows, scores, k)


def search_boosted(
    search: Callable[[Rows], TopK], boosts: Sequence[Boost], k: int, allowed: Rows
) -> TopK:
    """Top k of scores plus boosts.

    Items that get the same boosts keep their order, so the best of each such group are enough.

    Args:
        search: top k by the score alone, among some items.
        boosts: at most 30.
        k: results.
        allowed: item_idx that may come back, ascending.
    """
    groups = np.zeros(int(allowed[-1]) + 1 if len(allowed) else 0, np.int32)
    for number, boost in enumerate(boosts):
        groups[boost.items[boost.items < len(groups)]] |= 1 << number
    groups = groups[allowed]
    found = best_of(allowed[:0], np.empty(0, np.float32), k)
    for group in np.unique(groups).tolist():
        top = search(allowed[groups == group])
        amount = sum(boost.amount for n, boost in enumerate(boosts) if group >> n & 1)
        found = merge(found, TopK(top.item_idx, top.scores + np.float32(amount)), k)
    return found
