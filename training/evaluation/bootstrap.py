"""Paired bootstrap over users: confidence interval of the difference between two models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Resamples per block; memory is BLOCK · n indices."""


@dataclass(frozen=True)
class Gain:
    """Mean difference of a metric over users, with its bootstrap interval.

    Attributes:
        mean: mean difference.
        low, high: 2.5 % and 97.5 % quantiles of the resampled means.
        p: two-sided p-value, twice the share of resampled means at or beyond zero on the other
            side, with one added to the count so that it is never 0.
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
    """Bootstrap the difference of two models by resampling users (Efron & Tibshirani 1993, ch. 13).

    Args:
        ours, theirs: [n] values of a metric for the same users in the same order.
        rng: for the resamples.
        n_resamples: number of resamples.

    Raises:
        ValueError: the arrays differ in shape, are empty or not one-dimensional.
    """
    if ours.shape != theirs.shape or ours.ndim != 1 or not len(ours):
        raise ValueError(f"expected one value per user and model: {ours.shape}, {theirs.shape}")
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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for several tests (Holm 1979): p-values that hold for all of them at once.

    Args:
        p_values: of the tests, in any order.

    Returns:
        Corrected p-values, in the same order.
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - done) * p_values[place])
        corrected[place] = min(1.0, largest)
    return corrected
