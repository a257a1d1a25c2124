"""Paired bootstrap on cases with a known answer; metrics user by user; lost modalities."""

import numpy as np
import pytest
import torch
from planted import planted_dataset

from bundle.csr import Csr
from training.bootstrap import paired_bootstrap
from training.dataset import Modality
from training.missing import lose_one_modality
from training.ranking import evaluate_scores, evaluate_users


def test_the_interval_is_that_of_the_normal_distribution_where_that_is_known():
    rng = np.random.default_rng(0)
    theirs = rng.random(2_000)
    ours = theirs + rng.normal(0.02, 0.5, 2_000)
    gain = paired_bootstrap(ours, theirs, rng)
    difference = ours - theirs
    half = 1.96 * difference.std() / 2_000**0.5
    assert gain.mean == pytest.approx(difference.mean())
    assert gain.low == pytest.approx(difference.mean() - half, abs=0.06 * half)
    assert gain.high == pytest.approx(difference.mean() + half, abs=0.06 * half)


def test_a_gain_for_everybody_is_certain_and_none_is_no_gain():
    theirs, rng = np.linspace(0, 1, 50), np.random.default_rng(0)
    certain = paired_bootstrap(theirs + 0.1, theirs, rng, 1_000)
    assert (certain.low, certain.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert certain.p == pytest.approx(2 / 1_001)
    assert paired_bootstrap(theirs, theirs, rng, 1_000).p == 1


def test_differences_of_one_size_to_both_sides_are_no_gain():
    theirs = np.zeros(400)
    ours = np.tile([0.5, -0.5], 200)
    gain = paired_bootstrap(ours, theirs, np.random.default_rng(0), 2_000)
    assert gain.mean == 0
    assert gain.low < 0 < gain.high
    assert gain.p > 0.5


def test_other_users_are_refused():
    with pytest.raises(ValueError, match="same users"):
        paired_bootstrap(np.zeros(3), np.zeros(4), np.random.default_rng(0))


def test_metrics_are_the_means_of_the_users_own():
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.random((30, 40)).astype(np.float32))
    pairs = rng.integers(30, size=60), rng.integers(40, size=60)
    relevant, masked = (
        Csr.from_pairs(*pairs, 30, 40),
        Csr.from_pairs(pairs[1] % 30, *pairs[:1], 30, 40),
    )

    def score(users):
        return scores[users].clone()

    means = evaluate_scores(score, relevant, masked)
    for name, values in evaluate_users(score, relevant, masked).items():
        assert values.shape == ((relevant.lengths > 0).sum(),)
        assert means[name] == values.mean()


def test_a_share_of_the_items_loses_one_modality():
    modalities = planted_dataset().modalities
    before = sum(m.present.astype(int) for m in modalities.values())
    lost = {}
    for share in (0.2, 0.5):
        found = lose_one_modality(modalities, share, np.random.default_rng(3))
        after = sum(m.present.astype(int) for m in found.values())
        assert (before - after).sum() == int(share * len(before))
        assert set(before - after) == {0, 1}
        assert all((m.features[~m.present] == 0).all() for m in found.values())
        lost[share] = {n: ~found[n].present & m.present for n, m in modalities.items()}
    for name in modalities:
        assert (lost[0.5][name] | ~lost[0.2][name]).all()
        assert lost[0.5][name].any()
    assert all(m.present.sum() > 50 for m in modalities.values())


def test_a_given_graph_loses_the_items_on_both_ends():
    given = Modality(
        np.ones((4, 2), np.float32),
        np.ones(4, np.bool_),
        np.array([[1, 2], [0, 3], [0, -1], [2, 1]], np.int32),
        np.full((4, 2), 0.5, np.float32),
    )
    found = lose_one_modality({"image": given}, 0.25, np.random.default_rng(0))["image"]
    (gone,) = np.flatnonzero(~found.present)
    assert (found.neighbour_idx[gone] == -1).all()
    assert gone not in found.neighbour_idx
    kept = (given.neighbour_idx != gone) & (given.neighbour_idx >= 0)
    kept[gone] = False
    assert (found.neighbour_idx[kept] == given.neighbour_idx[kept]).all()
    assert ((found.neighbour_cos > 0) == kept).all()
