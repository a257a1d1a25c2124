"""The model: lines, fused vectors and scores against dense algebra."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from models.behaviour import MatrixFactorisation
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.history import History
from tests.models.small_model import (
    DIM,
    EVERY_TERM,
    GRAPH_ONLY,
    N_ITEMS,
    N_USERS,
    WEIGHTS,
    interactions,
    make_batch,
    make_model,
)


def test_users_of_a_line_are_the_mean_of_its_unit_items() -> None:
    model = make_model(user_layers=0)
    mean = model.history.mean.to_dense()
    lines = model.lines()
    items = [model.backbone()[1], *(encoder() for encoder in model.encoders)]
    for vectors, expected in zip(lines.values(), items, strict=True):
        torch.testing.assert_close(vectors.items, expected)
        torch.testing.assert_close(model.users_of(vectors), mean @ F.normalize(expected, dim=1))


@pytest.mark.parametrize(
    ("fusion", "width"), [("lines", 2 * DIM), ("concat", 4 * DIM), ("sum", DIM)]
)
def test_fused_vectors_are_on_the_unit_sphere_where_nothing_is_missing(
    fusion: str, width: int
) -> None:
    vectors = make_model(fusion=fusion, item_bias=False)()
    assert vectors.users.shape == (N_USERS, width)
    assert vectors.items.shape == (N_ITEMS, width)
    lengths = vectors.items.norm(dim=1)
    missing = {2, 3, 4} if fusion == "concat" else set()
    complete = [i for i in range(N_ITEMS) if i not in missing]
    torch.testing.assert_close(lengths[complete], torch.ones(len(complete)))


def test_score_is_the_weighted_sum_of_the_parts_cosines() -> None:
    model = make_model(modal_weight=0.5, fusion="concat")
    assert model.bias is not None
    model.bias.data.normal_()
    total = sum(weight**2 for weight in WEIGHTS.values())
    squares = {"behaviour": 1.0} | {n: 0.25 * weight**2 / total for n, weight in WEIGHTS.items()}
    items = {n: F.normalize(line.items, dim=1) for n, line in model.lines().items()}
    expected = sum(squares[n] / 1.25 * model.history.users(x) @ x.T for n, x in items.items())
    vectors = model()
    mean = model.history.users(vectors.items[:, :-1])
    scores = expected / mean.norm(dim=1, keepdim=True) + model.bias
    torch.testing.assert_close(vectors.users @ vectors.items.T, scores)


def test_lines_are_fused_side_by_side_and_modalities_summed() -> None:
    model = make_model(modal_weight=0.5, item_bias=False)
    behaviour, *modal = (line.items for line in model.lines().values())
    summed = torch.stack([w * items for w, items in zip(WEIGHTS.values(), modal, strict=True)]).sum(
        0
    )
    expected = torch.cat([F.normalize(behaviour, dim=1), 0.5 * F.normalize(summed, dim=1)], 1)
    torch.testing.assert_close(model().items, expected / 1.25**0.5)


def test_the_modal_line_counts_less_where_items_have_many_interactions() -> None:
    users, _ = interactions()
    per_item = len(users) / N_ITEMS
    weights = {
        times: make_model(modal_weight=1.5, modal_support=per_item / times).modal_weight
        for times in (0.5, 1, 4, 9)
    }
    assert weights == pytest.approx({0.5: 1.5, 1: 1.5, 4: 0.75, 9: 0.5})
    dense = make_model(modal_weight=1.5, modal_support=per_item / 9, item_bias=False)
    plain = make_model(modal_weight=0.5, item_bias=False)
    torch.testing.assert_close(dense().items, plain().items)


@pytest.mark.parametrize("fusion", ["lines", "concat", "sum"])
def test_what_the_parts_add_is_the_vector(fusion: str) -> None:
    model = make_model(fusion=fusion, item_bias=False)
    lines = {name: line.items for name, line in model.lines().items()}
    groups = model.groups(lines)
    assert [n for group in groups for n in group.members] == ["behaviour", *model.modalities]
    for group in groups:
        torch.testing.assert_close(sum(group.parts().values()), group.vector())
    assert sum(group.weight**2 for group in groups) == pytest.approx(1)


@pytest.mark.parametrize("fusion", ["lines", "concat", "sum"])
def test_users_are_the_mean_of_their_fused_items_on_the_unit_sphere(fusion: str) -> None:
    model = make_model(fusion=fusion, item_bias=False)
    vectors = model()
    expected = F.normalize(model.history.mean.to_dense() @ vectors.items, dim=1)
    torch.testing.assert_close(vectors.users, expected)


@pytest.mark.parametrize("more", [{"user_layers": 1}, {"backbone": "lightgcn"}])
def test_users_with_vectors_of_their_own_are_fused_from_their_lines(more: dict[str, Any]) -> None:
    model = make_model(item_bias=False, **more)
    lines = model.lines()
    expected = model.fuse({name: model.users_of(line) for name, line in lines.items()})
    torch.testing.assert_close(model().users, expected)


def test_an_item_without_a_modality_has_nothing_in_its_part() -> None:
    model = make_model(item_layers=2, fusion="concat")
    items = model().items
    for number, (name, missing) in enumerate((("image", 2), ("text", 3), (GRAPH_ONLY, 4))):
        part = items[:, (number + 1) * DIM : (number + 2) * DIM]
        assert model.modalities[number] == name
        assert (part[missing] == 0).all()
        assert (part[5:].norm(dim=1) > 0).all()


def test_without_modalities_it_is_the_backbone_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    backbone = MatrixFactorisation(N_USERS, N_ITEMS, DIM, generator)
    config = ModelConfig(**EVERY_TERM, dim=DIM, backbone="mf", item_bias=False)
    history = History(*interactions(), N_USERS, N_ITEMS)
    model = DRepMRec(backbone, {}, history, config, generator)
    torch.testing.assert_close(model().users, F.normalize(backbone.users, dim=1))
    loss = torch.stack(list(model.loss(make_batch()).values())).sum()
    loss.backward()
    assert torch.isfinite(loss)


def test_the_same_seed_makes_the_same_model() -> None:
    one, two, other = make_model(1), make_model(1), make_model(2)
    assert torch.equal(one().users, two().users)
    assert not torch.equal(one().users, other().users)
