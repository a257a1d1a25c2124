"""Encoders of new items and users, and the ridge regression that fits them."""

import torch

from models.encoders import ItemEncoder, UserEncoder, ridge


def test_ridge_finds_a_linear_map_and_depends_on_no_block() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(50, 4, generator=generator), torch.randn(4, 3, generator=generator)
    torch.testing.assert_close(ridge([(x, x @ w)], 1e-9), w)
    blocks = [(x[:20], (x @ w)[:20]), (x[20:], (x @ w)[20:])]
    torch.testing.assert_close(ridge(blocks, 0.1), ridge([(x, x @ w)], 0.1))


def test_encoders_put_each_part_on_its_sphere() -> None:
    encoder = ItemEncoder(
        widths=[3],
        columns=[(0, 2), (2, 4)],
        lengths=[0.8, 0.6],
        needs=torch.tensor([[True], [True]]),
        weight=torch.randn(4, 4),
    )
    items = encoder(torch.randn(5, 3), torch.tensor([[1.0]] * 4 + [[0.0]]))
    lengths = torch.stack([items[:, :2].norm(dim=1), items[:, 2:].norm(dim=1)], 1)
    torch.testing.assert_close(lengths[:4], torch.tensor([[0.8, 0.6]] * 4))
    torch.testing.assert_close(lengths[4], torch.tensor([0.0, 0.0]))
    user = UserEncoder(None)
    history = torch.tensor([[[3.0, 4.0], [9.0, 9.0]]])
    one = user(history, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2))
    torch.testing.assert_close(one, torch.tensor([[0.6, 0.8]]))
    swapped = UserEncoder(torch.eye(2).flip(0))(
        history, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2)
    )
    torch.testing.assert_close(swapped, torch.tensor([[0.8, 0.6]]))
    assert user(history, torch.zeros(1, 2), torch.ones(1, 2)).abs().sum() == 0
