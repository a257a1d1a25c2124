"""Closed-form baselines against textbook solutions, and the choice of their hyper-parameters."""

from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.errors import InputError
from tests.support.data.planted_groups import planted_dataset
from training.baselines import closed_form_search
from training.baselines.closed_form import MAX_ITEMS, as_vectors, ease, ials
from training.baselines.closed_form_search import (
    IALS_COLUMNS,
    choose_ease,
    choose_ials,
    fit_ease,
    fit_ials,
)
from training.data.scipy_matrix import as_scipy
from training.data.split import Split, make_split
from training.fitting.config import FitConfig

ALPHA, L2 = 0.1, 0.02


@pytest.fixture
def split() -> Split:
    return make_split(planted_dataset(), FitConfig().split, np.random.default_rng(0))


@pytest.fixture
def train(split: Split) -> Csr:
    return split.train


def dense(train: Csr) -> NDArray[np.float64]:
    found: NDArray[np.float64] = as_scipy(train).toarray().astype(np.float64)
    return found


def test_ease_is_the_regression_of_each_item_on_the_others(train: Csr) -> None:
    matrix, weights = dense(train), ease(train, 3.0)
    assert not weights.diagonal().any()
    for item in range(train.n_cols):
        others = np.delete(matrix, item, 1)
        left = others.T @ others + 3 * np.eye(train.n_cols - 1)
        textbook = np.linalg.solve(left, others.T @ matrix[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), textbook, atol=1e-6)


def test_ease_refuses_more_items_than_fit_by_name() -> None:
    large = Csr.from_pairs(np.array([0]), np.array([0]), 1, MAX_ITEMS + 1)
    with pytest.raises(InputError, match=r"ease needs a matrix .* at most 20,000 items.* 20,001"):
        ease(large, 1.0)


@pytest.mark.parametrize("columns", [1, 5, 1_000])
def test_vectors_of_ease_are_its_truncated_singular_value_decomposition(
    train: Csr, columns: int
) -> None:
    weights = ease(train, 3.0)
    users, items = as_vectors(train, weights, columns)
    left, values, right = np.linalg.svd(dense(train) @ weights)
    k = min(columns, train.n_cols - 1)
    assert items.shape == (train.n_cols, k)
    textbook = left[:, :k] * values[:k] @ right[:k]
    np.testing.assert_allclose(users @ items.T, textbook, atol=1e-4)
    again = as_vectors(train, weights, columns)
    assert all(np.array_equal(x, y) for x, y in zip((users, items), again, strict=True))


def loss(matrix: NDArray[np.float64], users: torch.Tensor, items: torch.Tensor) -> float:
    scores = users.double().numpy() @ items.double().numpy().T
    found = (matrix * (1 - scores) ** 2).sum() + ALPHA * (scores**2).sum()
    for vectors, axis in ((users, 1), (items, 0)):
        strength = matrix.sum(axis) + ALPHA * matrix.shape[axis]
        found += L2 * (strength * vectors.double().square().sum(1).numpy()).sum()
    return float(found)


def test_epochs_of_ials_lower_its_loss_to_where_users_solve_their_equations(train: Csr) -> None:
    matrix = dense(train)
    epochs = list(islice(ials(train, 6, ALPHA, L2, 0), 60))
    losses = [loss(matrix, *vectors) for vectors in epochs]
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(losses))
    users, items = (vectors.double().numpy() for vectors in epochs[-1])
    for side, own, others in ((matrix.T, items, users), (matrix, users, items)):
        tolerance = 1e-5 if own is items else 1e-2  # items were solved for last
        for known, vector in zip(side, own, strict=True):
            strength = L2 * (known.sum() + ALPHA * len(known))
            left = (others.T * (known + ALPHA)) @ others + strength * np.eye(6)
            np.testing.assert_allclose(left @ vector, others.T @ known, atol=tolerance)
    assert not users[-1].any()  # without interactions
    assert not items[-1].any()


def test_ials_is_determined_by_its_seed(train: Csr) -> None:
    one, two, other = (next(ials(train, 4, ALPHA, L2, seed)) for seed in (1, 1, 2))
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[1], other[1])


def test_hyper_parameters_are_the_best_on_valid(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_form_search, "EASE_GRID", (1.0, 20.0, 1e6))
    chosen = choose_ease(split, [None, 4])
    for columns, l2 in chosen.items():
        recalls = {x: fit_ease(split, x, columns).valid for x in (1.0, 20.0, 1e6)}
        assert recalls[l2] == max(recalls.values())
    grid = ((0.1, 0.01), (10.0, 10.0), (0.1, 1.0))
    monkeypatch.setattr(closed_form_search, "IALS_GRID", grid)
    found = {choice: fit_ials(split, IALS_COLUMNS, *choice, 0).valid for choice in grid}
    assert found[choose_ials(split, 0)] == max(found.values()) > min(found.values())


def test_a_fit_of_ials_is_that_of_its_best_epoch(split: Split) -> None:
    fitted = fit_ials(split, 8, 0.1, 0.01, 0)
    assert fitted.best_epoch <= fitted.epochs <= closed_form_search.MAX_EPOCHS
    assert fitted.cpu_seconds > 0
    users, items = next(islice(ials(split.train, 8, 0.1, 0.01, 0), fitted.best_epoch - 1, None))
    assert torch.equal(fitted.score(np.arange(5)), users[:5] @ items.T)
