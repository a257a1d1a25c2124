"""Paired bootstrap on cases with a known answer; metrics user by user."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bundle.csr import Csr
from training.evaluation.bootstrap import holm, paired_bootstrap
from training.fitting.ranking import evaluate_scores, evaluate_users


def test_the_interval_is_that_of_the_normal_distribution_where_that_is_known() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.random(2_000)
    ours = theirs + rng.normal(0.02, 0.5, 2_000)
    gain = paired_bootstrap(ours, theirs, rng)
    difference = ours - theirs
    half = 1.96 * difference.std() / 2_000**0.5
    assert gain.mean == pytest.approx(difference.mean())
    assert gain.low == pytest.approx(difference.mean() - half, abs=0.06 * half)
    assert gain.high == pytest.approx(difference.mean() + half, abs=0.06 * half)


def test_an_equal_gain_of_all_users_is_certain_and_none_is_no_gain() -> None:
    theirs, rng = np.linspace(0, 1, 50), np.random.default_rng(0)
    certain = paired_bootstrap(theirs + 0.1, theirs, rng, 1_000)
    assert [certain.low, certain.high] == pytest.approx([0.1, 0.1])
    assert certain.p == pytest.approx(2 / 1_001)
    assert paired_bootstrap(theirs, theirs, rng, 1_000).p == 1


def test_differences_of_one_size_to_both_sides_are_no_gain() -> None:
    theirs = np.zeros(400)
    ours = np.tile([0.5, -0.5], 200)
    gain = paired_bootstrap(ours, theirs, np.random.default_rng(0), 2_000)
    assert gain.mean == 0
    assert gain.low < 0 < gain.high
    assert gain.p > 0.5


def test_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="one value per user"):
        paired_bootstrap(np.zeros(3), np.zeros(4), np.random.default_rng(0))


def test_holm_multiplies_by_the_tests_that_are_left_and_keeps_the_order() -> None:
    # Sorted: 4 · 0.01, 3 · 0.02, 2 · 0.022 (less than the one before), 1 · 0.9.
    assert holm([0.022, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.4, 0.7]) == pytest.approx([0.8, 0.8])
    assert holm([0.6, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_metrics_are_the_means_of_the_users_own() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.random((30, 40)).astype(np.float32))
    pairs = rng.integers(30, size=60), rng.integers(40, size=60)
    relevant, masked = (
        Csr.from_pairs(*pairs, 30, 40),
        Csr.from_pairs(pairs[1] % 30, *pairs[:1], 30, 40),
    )

    def score(users: NDArray[np.int64]) -> torch.Tensor:
        return scores[users].clone()

    means = evaluate_scores(score, relevant, masked)
    for name, values in evaluate_users(score, relevant, masked).items():
        assert values.shape == ((relevant.lengths > 0).sum(),)
        assert means[name] == values.mean()
