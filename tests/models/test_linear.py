"""The linear part: the regression against its definition, and the choice of its weight."""

from collections.abc import Sequence

import pytest
import torch

from models.linear import WEIGHTS, LinearPart, item_vectors, regression, symmetric_factor


def interactions(n_users: int = 60, n_items: int = 14) -> torch.Tensor:
    """Interactions [U, I] of two groups of users with two groups of items, and noise."""
    generator = torch.Generator().manual_seed(1)
    same = torch.arange(n_users).unsqueeze(1) % 2 == torch.arange(n_items).unsqueeze(0) % 2
    chance = torch.where(same, 0.6, 0.1)
    return (torch.rand(n_users, n_items, generator=generator) < chance).float()


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_each_item_is_regressed_on_the_others(dropout: float) -> None:
    matrix, l2 = interactions().double(), 3.0
    weights = regression((matrix.T @ matrix).float(), l2, dropout).double()
    noise = dropout / (1 - dropout) * matrix.square().sum(0)
    for item in range(matrix.shape[1]):
        others = [j for j in range(matrix.shape[1]) if j != item]
        inputs = matrix[:, others]
        penalty = torch.diag(l2 + noise[others])
        expected = torch.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ matrix[:, item])
        torch.testing.assert_close(weights[others, item], expected, atol=1e-5, rtol=1e-4)
        assert weights[item, item] == 0


def test_no_other_symmetric_matrix_of_the_subspace_is_nearer_to_the_scores() -> None:
    matrix = interactions()
    gram = matrix.T @ matrix
    weights = regression(gram, 3.0, 0.3)
    factor = symmetric_factor(gram, weights, 5)
    assert factor.shape == (matrix.shape[1], 5)

    def error(approximation: torch.Tensor) -> float:
        return float((matrix @ (weights - approximation)).square().sum())

    best = error(factor @ factor.T)
    assert best < 0.7 * error(torch.zeros_like(weights))
    basis = torch.linalg.qr(factor).Q
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        step = torch.randn(5, 5, generator=generator) * 0.05
        moved = factor @ factor.T + basis @ (step + step.T) @ basis.T
        if torch.linalg.eigvalsh(basis.T @ moved @ basis).min() >= 0:
            assert error(moved) >= best * (1 - 1e-4)


def test_more_columns_than_items_give_as_many_as_there_are_items() -> None:
    matrix = interactions()
    assert item_vectors(matrix.T @ matrix, 200, 3.0, 0.3).shape == (14, 14)


def test_items_that_share_users_are_nearer() -> None:
    matrix = interactions()
    vectors = item_vectors(matrix.T @ matrix, 4, 3.0, 0.3)
    products = vectors @ vectors.T
    same = (torch.arange(14).unsqueeze(1) - torch.arange(14)) % 2 == 0
    same.fill_diagonal_(False)
    assert products[same].mean() > products[~same].mean() + 0.05


def test_vectors_are_scaled_by_the_items_interactions() -> None:
    part = LinearPart(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([3, 1]))
    assert not part.used
    part.weight.fill_(4.0)
    lengths = part().square().sum(1)
    assert part.used
    assert (lengths * torch.tensor([3.0, 1.0])).sum() / 4 == pytest.approx(4.0)


@pytest.mark.parametrize("best", [0, 1, 5, len(WEIGHTS) - 1])
@pytest.mark.parametrize("start", [0, 3, len(WEIGHTS) - 1])
def test_the_best_weight_is_found_from_any_start(best: int, start: int) -> None:
    part = LinearPart(torch.ones(3, 2), torch.ones(3))
    part.weight.fill_(WEIGHTS[start])

    def metrics(weights: Sequence[float]) -> list[dict[str, float]]:
        return [{"recall": -abs(WEIGHTS.index(weight) - best)} for weight in weights]

    found = part.choose(metrics, "recall")
    assert found["recall"] == 0
    assert float(part.weight) == WEIGHTS[best]


def test_a_weight_that_is_best_among_its_neighbours_alone_yields_to_none() -> None:
    part = LinearPart(torch.ones(3, 2), torch.ones(3))
    part.weight.fill_(WEIGHTS[5])
    quality = {0: 3.0, 5: 2.0}
    part.choose(lambda tried: [{"q": quality.get(WEIGHTS.index(w), 0.0)} for w in tried], "q")
    assert not part.used
