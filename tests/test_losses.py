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


def test_bpr_is_minus_log_sigmoid():
    positive, negative = torch.tensor([2.0, 0.0]), torch.tensor([[1.0], [3.0]])
    expected = (-math.log(1 / (1 + math.exp(-1))) - math.log(1 / (1 + math.exp(3)))) / 2
    assert bpr(positive, negative).item() == pytest.approx(expected, rel=1e-6)


def test_sampled_softmax_counts_the_positive_once():
    # e^{2} / (e^{2} + e^{0} + e^{1}) at temperature 0.5
    loss = sampled_softmax(torch.tensor([1.0]), torch.tensor([[0.0, 0.5]]), 0.5)
    expected = -math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(1)))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_sampled_softmax_leaves_out_what_is_masked():
    masked = sampled_softmax(torch.tensor([1.0]), torch.tensor([[0.0, -torch.inf]]), 0.5)
    without = sampled_softmax(torch.tensor([1.0]), torch.tensor([[0.0]]), 0.5)
    assert masked.item() == pytest.approx(without.item())


def test_pair_alignment_is_the_squared_chord():
    # orthogonal: 2; same direction at another length: 0; opposite: 4
    users = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.0, 3.0]])
    items = torch.tensor([[0.0, 5.0], [1.0, 1.0], [0.0, -1.0]])
    assert pair_alignment(users, items).item() == pytest.approx((2 + 0 + 4) / 3, abs=1e-6)


def test_info_nce_of_two_orthogonal_pairs():
    # cosines [[1, 0], [0, 1]] at temperature 0.5: −log(e² / (e² + 1)) in both directions
    x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    expected = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert info_nce(x, x, 0.5).item() == pytest.approx(expected, rel=1e-6)
    swapped = -math.log(1 / (math.exp(2) + 1))
    assert info_nce(x, x.flip(0), 0.5).item() == pytest.approx(swapped, rel=1e-6)


def test_similarity_supervision_by_hand():
    # Off the diagonal, row 0 has cosines (1, 0) in the reference and (0, 1) in the vectors.
    reference = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    high, low = math.e / (math.e + 1), 1 / (math.e + 1)
    row_0 = high * math.log(high / low) + low * math.log(low / high)
    row_1 = high * math.log(high / 0.5) + low * math.log(low / 0.5)  # (1, 0) against (0, 0)
    row_2 = 0.5 * math.log(0.5 / high) + 0.5 * math.log(0.5 / low)  # (0, 0) against (1, 0)
    loss = similarity_supervision(vectors, reference, 1.0)
    assert loss.item() == pytest.approx((row_0 + row_1 + row_2) / 3, rel=1e-5)


def test_similarity_supervision_is_zero_for_equal_similarities_and_moves_only_the_vectors():
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(6, 4, generator=generator, requires_grad=True)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator)).Q
    assert similarity_supervision(3 * reference @ rotation, reference, 0.2).item() < 1e-6
    vectors = torch.randn(6, 3, generator=generator, requires_grad=True)
    similarity_supervision(vectors, reference, 0.2).backward()
    assert vectors.grad is not None
    assert reference.grad is None
