"""Loss values against cases computed by hand."""

import math

import pytest
import torch

from models.losses import (
    bpr,
    info_nce,
    pair_alignment,
    sampled_softmax,
    similarity_supervision,
)


def test_bpr_is_minus_log_sigmoid() -> None:
    positive, negative = torch.tensor([2.0, 0.0]), torch.tensor([[1.0], [3.0]])
    expected = (-math.log(1 / (1 + math.exp(-1))) - math.log(1 / (1 + math.exp(3)))) / 2
    assert bpr(positive, negative).item() == pytest.approx(expected, rel=1e-6)


def softmax_of(positive: float, negatives: list[float], temperature: float, own: int = -1) -> float:
    """One row whose user is (1, 0), so that an item's first coordinate is its score."""
    items = torch.tensor([[positive, 3.0]])
    drawn = torch.tensor([[score, -2.0] for score in negatives])
    places = torch.tensor([own] if own >= 0 else [], dtype=torch.int64)
    masked = torch.zeros_like(places), places
    user, row = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    return sampled_softmax(user, items, drawn, row, torch.ones(1), masked, temperature).item()


def test_sampled_softmax_counts_the_positive_once() -> None:
    # e^{2} / (e^{2} + e^{0} + e^{1}) at temperature 0.5
    expected = -math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(1)))
    assert softmax_of(1.0, [0.0, 0.5], 0.5) == pytest.approx(expected, rel=1e-6)


def test_sampled_softmax_leaves_out_what_is_masked() -> None:
    masked = softmax_of(1.0, [0.0, 1.0], 0.5, own=1)
    assert masked == pytest.approx(softmax_of(1.0, [0.0], 0.5))
    assert softmax_of(1.0, [1.0], 0.5, own=0) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("n_rows", [1, 256, 700])
def test_sampled_softmax_and_its_gradients_are_those_of_autograd(n_rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    # Some rows have no positive, and others several.
    of_row = torch.randint(n_rows, (2 * n_rows,), generator=generator).sort().values
    users, items, drawn = (
        torch.randn(n, 5, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (n_rows, len(of_row), 40)
    )
    masked = torch.rand(n_rows, 40, generator=generator) < 0.1
    masked[0] = True
    inputs = (users, items, drawn)
    weights = torch.rand(len(of_row), generator=generator, dtype=torch.float64) + 0.1
    row, column = masked.nonzero(as_tuple=True)
    loss = sampled_softmax(*inputs, of_row, weights, (row, column), 0.2)
    negative = (users @ drawn.T).masked_fill(masked, -torch.inf)[of_row]
    positive = (users[of_row] * items).sum(1)
    everything = torch.cat([positive.unsqueeze(1), negative], 1).div(0.2).logsumexp(1)
    expected = ((everything - positive / 0.2) * weights).sum() / weights.sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    found = torch.autograd.grad(3 * loss, inputs)
    for gradient, reference in zip(found, torch.autograd.grad(3 * expected, inputs), strict=True):
        torch.testing.assert_close(gradient, reference)


def test_pair_alignment_is_the_squared_chord() -> None:
    # orthogonal: 2; same direction at another length: 0; opposite: 4
    users = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 3.0]])
    items = torch.tensor([[0.0, 5.0], [1.0, 1.0], [0.0, -1.0]])
    assert pair_alignment(users, items).item() == pytest.approx((2 + 0 + 4) / 3, abs=1e-6)


def test_info_nce_of_two_orthogonal_pairs() -> None:
    # cosines [[1, 0], [0, 1]] at temperature 0.5: −log(e² / (e² + 1)) in both directions
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert info_nce(x, x, 0.5).item() == pytest.approx(expected, rel=1e-6)
    swapped = -math.log(1 / (math.exp(2) + 1))
    assert info_nce(x, x.flip(0), 0.5).item() == pytest.approx(swapped, rel=1e-6)


def test_similarity_supervision_by_hand() -> None:
    # Off the diagonal, row 0 has cosines (1, 0) in the reference and (0, 1) in the vectors.
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    high, low = math.e / (math.e + 1), 1 / (math.e + 1)
    row_0 = high * math.log(high / low) + low * math.log(low / high)
    row_1 = high * math.log(high / 0.5) + low * math.log(low / 0.5)  # (1, 0) against (0, 0)
    row_2 = 0.5 * math.log(0.5 / high) + 0.5 * math.log(0.5 / low)  # (0, 0) against (1, 0)
    loss = similarity_supervision(vectors, reference, 1.0)
    assert loss.item() == pytest.approx((row_0 + row_1 + row_2) / 3, rel=1e-5)


def test_similarity_supervision_is_zero_for_equal_similarities_and_moves_only_the_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(6, 4, generator=generator, requires_grad=True)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    assert similarity_supervision(3 * reference @ rotation, reference, 0.2).item() < 1e-6
    vectors = torch.randn(6, 3, generator=generator, requires_grad=True)
    similarity_supervision(vectors, reference, 0.2).backward()
    assert vectors.grad is not None
    assert reference.grad is None
