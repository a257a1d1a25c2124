"""Whether one model is better than another for the users whom there might have been."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Resamples at a time; memory is BLOCK · n indices."""


@dataclass(frozen=True)
class Gain:
    """A mean difference over users and what resampling them says of it.

    Attributes:
        mean: of the differences.
        low, high: 2.5 % and 97.5 % of the resampled means.
        p: two-sided, twice the share of resampled means on the other side of zero or on it,
            counted with one more so that it is never 0.
    """

    mean: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    ours: NDArray[np.floating],
    theirs: NDArray[np.floating],
    rng: np.random.Generator,
    n_resamples: int = 10_000,
) -> Gain:
    """Resample users, with what both models did for each (Efron & Tibshirani 1993, chapter 13).

    Args:
        ours, theirs: [n] a metric of the same users in the same order.
        rng: draws the resamples.
        n_resamples: how many.

    Raises:
        ValueError: the two are not of the same users.
    """
    if ours.shape != theirs.shape or ours.ndim != 1 or not len(ours):
        raise ValueError(f"expected a metric of the same users, got {ours.shape}, {theirs.shape}")
    difference = np.asarray(ours, np.float64) - theirs
    n = len(difference)
    means = np.empty(n_resamples)
    for start in range(0, n_resamples, BLOCK):
        stop = min(start + BLOCK, n_resamples)
        means[start:stop] = difference[rng.integers(n, size=(stop - start, n))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    other_side = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (int(other_side) + 1) / (n_resamples + 1))
    return Gain(float(difference.mean()), float(low), float(high), p)
