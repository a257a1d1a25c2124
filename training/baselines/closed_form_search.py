"""Choice of the closed-form baselines' hyper-parameters by valid recall@20.

One fit takes seconds, so the whole grid is fitted for every data set.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from training.baselines.closed_form import as_vectors, ease, ials
from training.data.scipy_matrix import as_scipy
from training.data.split import Split
from training.fitting.ranking import Score, evaluate_scores, inner_products
from training.fitting.trainer import SELECTED_ON

EASE_GRID = (10.0, 30.0, 100.0, 300.0, 600.0, 1000.0, 2000.0)
"""Values of l2."""
IALS_GRID = tuple(product((0.001, 0.003, 0.01, 0.03, 0.1, 0.3), (0.003, 0.01, 0.05, 0.1)))
"""Values of alpha and l2."""
IALS_COLUMNS = 64
"""Columns that IALS_GRID is searched with; more columns take the same values."""
MAX_EPOCHS = 20
"""Epochs of iALS at most."""
BETWEEN = 2
"""Epochs of iALS between evaluations on valid."""
PATIENCE = 2
"""Evaluations of iALS without a better one, after which a fit stops."""


@dataclass(frozen=True)
class ClosedForm:
    """A fitted closed-form model.

    Attributes:
        score: of any users.
        valid: recall@20.
        epochs, best_epoch: of iALS, 0 for EASE.
        seconds, cpu_seconds: of the fit; for iALS with the evaluations on valid that stop it.
    """

    score: Score
    valid: float
    epochs: int
    best_epoch: int
    seconds: float
    cpu_seconds: float


def fit_ease(split: Split, l2: float, columns: int | None) -> ClosedForm:
    """EASE, in full or as vectors of that many columns."""
    clocks = time.perf_counter(), time.process_time()
    weights = ease(split.train, l2)
    if columns is None:
        score = _full(split, weights)
    else:
        score = _products(*as_vectors(split.train, weights, columns))
    seconds, cpu_seconds = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
    return ClosedForm(score, _valid(score, split), 0, 0, seconds, cpu_seconds)


def choose_ease(split: Split, columns: Iterable[int | None]) -> dict[int | None, float]:
    """The best l2 of EASE in full (None) and as vectors, by their number of columns."""
    wanted = list(columns)
    vectors = [k for k in wanted if k is not None]
    best: dict[int | None, tuple[float, float]] = {}
    for l2 in EASE_GRID:
        weights = ease(split.train, l2)
        scores: dict[int | None, Score] = {}
        if None in wanted:
            scores[None] = _full(split, weights)
        if vectors:  # fewer columns are the first ones of more
            users, items = as_vectors(split.train, weights, max(vectors))
            scores |= {k: _products(users[:, :k], items[:, :k]) for k in vectors}
        for k, score in scores.items():
            best[k] = max(best.get(k, (-1.0, l2)), (_valid(score, split), l2))
    return {k: l2 for k, (_, l2) in best.items()}


def fit_ials(split: Split, columns: int, alpha: float, l2: float, seed: int) -> ClosedForm:
    """A fit of iALS, in the state of its best valid recall@20."""
    clocks = time.perf_counter(), time.process_time()
    best: tuple[float, int, Score] | None = None
    epoch = 0
    for epoch, (users, items) in enumerate(ials(split.train, columns, alpha, l2, seed), 1):
        if epoch % BETWEEN:
            continue
        score = inner_products(users, items)
        valid = _valid(score, split)
        if best is None or valid > best[0]:
            best = valid, epoch, score
        if epoch >= MAX_EPOCHS or epoch - best[1] >= PATIENCE * BETWEEN:
            break
    assert best is not None  # BETWEEN <= MAX_EPOCHS
    seconds, cpu_seconds = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
    return ClosedForm(best[2], best[0], epoch, best[1], seconds, cpu_seconds)


def choose_ials(split: Split, seed: int) -> tuple[float, float]:
    """The best alpha and l2 of iALS."""
    found = {
        (alpha, l2): fit_ials(split, IALS_COLUMNS, alpha, l2, seed).valid for alpha, l2 in IALS_GRID
    }
    return max(found, key=found.__getitem__)


def _valid(score: Score, split: Split) -> float:
    return evaluate_scores(score, split.valid, split.train)[SELECTED_ON]


def _full(split: Split, weights: NDArray[np.float32]) -> Score:
    interactions = as_scipy(split.train)
    return lambda users: torch.from_numpy(interactions[users] @ weights)


def _products(users: NDArray[np.float32], items: NDArray[np.float32]) -> Score:
    return inner_products(torch.from_numpy(users), torch.from_numpy(items))
