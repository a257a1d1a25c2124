"""Synthetic data: the shape of the real set, the same each time, and something to learn."""

import numpy as np
import pytest

from benchmarks import synthetic
from benchmarks.synthetic import SHAPES, synthetic_split
from training.data.dataset import Modality
from training.data.split import Split


def drawn(shape: str, size: float) -> tuple[Split, dict[str, Modality]]:
    return synthetic_split(SHAPES[shape], size, np.random.default_rng(0))


PLANNED = {
    "tiktok": (9_308, 6_710, 59_541, 3_051, 6_130),
    "movielens-1m": (6_040, 3_260, 723_777, 77_441, 197_321),
    "shop": (10_000, 2_000, 92_000, 4_600, 4_600),
}
"""Users, items, and pairs of train, valid and test; of the real sets, but for the shop."""


@pytest.mark.parametrize("shape", SHAPES)
def test_once_the_size_is_as_planned(shape: str) -> None:
    split, modalities = drawn(shape, 1)
    users, items, *pairs = PLANNED[shape]
    assert (split.train.n_rows, split.train.n_cols) == (users, items)
    found = [part.nnz for part in (split.train, split.valid, split.test)]
    np.testing.assert_allclose(found, pairs, rtol=0.05)
    assert {n: m.features.shape for n, m in modalities.items()} == {
        name: (items, width) for name, width in SHAPES[shape].widths.items()
    }
    assert split.train.lengths.min() > 0


def test_a_history_is_as_long_as_the_real_ones() -> None:
    lengths = drawn("movielens-1m", 1)[0].train.lengths
    real = (18, 70, 400)  # 5th, 50th and 95th percentile
    np.testing.assert_allclose(np.percentile(lengths, (5, 50, 95)), real, rtol=0.2)
    lengths = np.sort(drawn("tiktok", 1)[0].train.lengths)
    assert lengths[-103:].sum() / lengths.sum() == pytest.approx(0.71, abs=0.02)


def test_growth_of_a_shape() -> None:
    for shape, items in (("tiktok", 4), ("movielens-1m", 2)):
        small, large = drawn(shape, 0.1)[0].train, drawn(shape, 0.4)[0].train
        assert large.n_rows == pytest.approx(4 * small.n_rows, rel=0.01)
        assert large.nnz == pytest.approx(4 * small.nnz, rel=0.1)
        assert large.n_cols == pytest.approx(items * small.n_cols, rel=0.01)


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_are_disjoint_in_one_block_or_many(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in (synthetic.BLOCK, 5_000):
        monkeypatch.setattr(synthetic, "BLOCK", block)
        (split, modalities), (again, same) = drawn(shape, 0.05), drawn(shape, 0.05)
        keys: list[int] = []
        for part, other in zip(
            (split.train, split.valid, split.test),
            (again.train, again.valid, again.test),
            strict=True,
        ):
            assert len(part.indptr) == split.train.n_rows + 1
            user_idx, item_idx = part.pairs()
            keys += (user_idx.astype(np.int64) * part.n_cols + item_idx).tolist()
            np.testing.assert_array_equal(part.indices, other.indices)
            np.testing.assert_array_equal(part.indptr, other.indptr)
        assert len(set(keys)) == len(keys)
        for name, modality in modalities.items():
            np.testing.assert_array_equal(modality.features, same[name].features)


def test_taste_and_features_say_more_than_popularity() -> None:
    split, modalities = drawn("movielens-1m", 0.3)
    train, test = (np.zeros((split.train.n_rows, split.train.n_cols)) for _ in range(2))
    train[split.train.pairs()] = 1
    test[split.test.pairs()] = 1

    def recall(scores: np.ndarray) -> float:
        best = np.argsort(np.where(train > 0, -np.inf, scores))[:, -20:]
        return float((np.take_along_axis(test, best, 1).sum(1) / test.sum(1).clip(1)).mean())

    popular = recall(np.broadcast_to(train.sum(0), train.shape))
    inverse = np.linalg.inv(train.T @ train + 100 * np.eye(train.shape[1]))
    regression = inverse / -np.diag(inverse)  # of each item on the others: EASE (Steck 2019)
    np.fill_diagonal(regression, 0)
    assert recall(train @ regression) > 1.2 * popular
    for modality in modalities.values():
        unit = modality.features / np.linalg.norm(modality.features, axis=1, keepdims=True)
        by_chance = 20 / train.shape[1]
        assert recall(train @ (unit @ unit.T)) > 2 * by_chance
