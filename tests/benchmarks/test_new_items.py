"""Boosts of new items: what moves at which boost equals a ranking of all items together."""

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.quality.cold_start.new_items import Moves, Part, UserMeans, moves
from bundle.csr import Csr
from training.fitting.ranking import Score, evaluate_users

USERS, KNOWN, NEW = 40, 60, 50
BOOSTS = (-3.0, -1.0, -0.25, 0.0, 0.5, 2.0)


def some(rng: np.random.Generator, n_items: int, share: float) -> Csr:
    chosen = rng.random((USERS, n_items)) < share
    chosen[:3] = False  # users without any
    rows, cols = np.nonzero(chosen)
    return Csr.from_pairs(rows, cols, USERS, n_items)


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Part]:
    rng = np.random.default_rng(0)
    known, new = (
        torch.from_numpy(np.round(rng.normal(size=(USERS, n)), 1).astype(np.float32))
        for n in (KNOWN, NEW)
    )  # rounded, so that some are equal
    train = some(rng, KNOWN, 0.3)
    rows, cols = np.nonzero(rng.random((USERS, KNOWN)) < 0.1)
    seen = np.isin(rows * KNOWN + cols, train.pairs()[0].astype(np.int64) * KNOWN + train.indices)
    relevant = Csr.from_pairs(rows[~seen], cols[~seen], USERS, KNOWN)
    return known, new, Part(train, relevant, some(rng, NEW, 0.1))


def score(values: Tensor) -> Score:
    return lambda users: values[torch.from_numpy(users)].clone()


def found(case: tuple[Tensor, Tensor, Part]) -> Moves:
    known, new, part = case
    return moves(score(known), score(new), part)


def wide(matrix: Csr, start: int) -> Csr:
    rows, cols = matrix.pairs()
    return Csr.from_pairs(rows, cols + start, USERS, KNOWN + NEW)


@pytest.mark.parametrize("boost", BOOSTS)
def test_recall_at_a_boost_is_that_of_one_ranking(
    case: tuple[Tensor, Tensor, Part], boost: float
) -> None:
    known, new, part = case
    boost += 0.03  # between the rounded scores: those of known and new items are never equal
    both = score(torch.cat([known, new + boost], 1))
    moved = found(case)
    for relevant, ours in (
        (wide(part.known, 0), moved.known_recall(boost)),
        (wide(part.new, KNOWN), moved.new_recall(boost)),
    ):
        wanted = np.full(USERS, np.nan)
        wanted[relevant.lengths > 0] = evaluate_users(both, relevant, wide(part.train, 0))[
            "recall@20"
        ]
        assert ours == pytest.approx(wanted, nan_ok=True)


def test_recall_of_both_weighs_items_and_not_kinds(case: tuple[Tensor, Tensor, Part]) -> None:
    moved, part = found(case), case[2]
    known, new = moved.known_recall(0.03), moved.new_recall(0.03)
    user = int(np.flatnonzero((part.known.lengths > 0) & (part.new.lengths > 1))[0])
    counts = part.known.lengths[user], part.new.lengths[user]
    hits = known[user] * counts[0] + new[user] * counts[1]
    assert moved.recall(0.03)[user] == pytest.approx(hits / sum(counts))


@pytest.mark.parametrize("share", [0.99, 0.9, 0.5, 0.0])
def test_the_boost_is_the_largest_that_keeps_the_share(
    case: tuple[Tensor, Tensor, Part], share: float
) -> None:
    moved = found(case)
    alone = np.nanmean(moved.known_recall(-np.inf))
    boost = moved.boost_that_keeps(share)
    assert np.nanmean(moved.known_recall(boost)) >= share * alone - 1e-12
    higher = np.unique(moved.leaves[1])
    higher = higher[higher > boost]
    if len(higher):  # the next item to leave is one too many
        assert np.nanmean(moved.known_recall(float(higher[0]))) < share * alone


def test_means_are_over_the_folds_in_which_a_user_has_the_metric() -> None:
    means = UserMeans(3)
    means.add(np.array([1.0, np.nan, np.nan]))
    means.add(np.array([0.0, 0.5, np.nan]))
    assert means.values.tolist() == [0.5, 0.5]
