"""Diverse results by maximal marginal relevance (Carbonell & Goldstein 1998)."""

import numpy as np

from bundle.search.topk import TopK
from bundle.types import Floats


def diversify(pool: TopK, unit: Floats, k: int, diversity: float) -> TopK:
    """Choose k of a pool of candidates.

    One after another, the item with the largest (1 − diversity) · score − diversity · largest
    cosine with those already chosen.

    Args:
        pool: n candidates.
        unit: [n, ·] unit vectors of the candidates.
        k: number of items to choose.
        diversity: 0 keeps the order of the scores, 1 considers only the cosines.

    Returns:
        The chosen items in the order of choice, with their scores unchanged.
    """
    value = (1 - diversity) * pool.scores
    nearest = np.full(len(value), -1.0, np.float32)
    chosen: list[int] = []
    for _ in range(min(k, len(value))):
        marginal = value - diversity * nearest if chosen else value
        marginal[chosen] = -np.inf
        chosen.append(int(np.argmax(marginal)))
        nearest = np.maximum(nearest, unit @ unit[chosen[-1]])
    return TopK(pool.item_idx[chosen], pool.scores[chosen])
