"""The model: equations against dense algebra, shapes, and which parameters a term moves."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from models.behaviour import ItemLightGCN, LightGCN, MatrixFactorisation, initial_embedding
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.fusion import Line
from models.graphs import interaction_graph, nearest_neighbours, relation_graph
from models.history import History
from models.modal import FilterGate, ModalEncoder, mean_of_layers
from models.trainable import Batch

N_USERS, N_ITEMS, DIM = 9, 12, 4
GRAPH_ONLY = "sound"
WEIGHTS = {"image": 1.0, "text": 0.5, GRAPH_ONLY: 0.25}


def interactions() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    dense = torch.rand(N_USERS, N_ITEMS, generator=generator) < 0.3
    dense[:, 0] |= ~dense.any(1)  # every user has an item
    users, items = dense.nonzero(as_tuple=True)
    return users, items


def make_model(seed: int = 0, **options: Any) -> DRepMRec:
    config = ModelConfig.model_validate({"dim": DIM, "negatives": 5} | options)
    generator = torch.Generator().manual_seed(seed)
    users, items = interactions()
    history = History(users, items, N_USERS, N_ITEMS)
    graph = interaction_graph(users, items, N_USERS, N_ITEMS)
    encoders = {}
    for name, width in (("image", 6), ("text", 3), (GRAPH_ONLY, 0)):
        features = torch.randn(N_ITEMS, width or 5, generator=generator)
        present = torch.ones(N_ITEMS, dtype=torch.bool)
        present[{"image": 2, "text": 3, GRAPH_ONLY: 4}[name]] = False
        features = F.normalize(features * present.unsqueeze(1), dim=1)
        user_features = history.users(features)
        encoders[name] = ModalEncoder(
            features=features[:, :width],
            present=present,
            item_graph=relation_graph(*nearest_neighbours(features, present, 3)),
            user_graph=relation_graph(
                *nearest_neighbours(user_features, torch.ones(N_USERS, dtype=torch.bool), 3)
            ),
            dim=DIM,
            item_layers=config.item_layers,
            user_layers=config.user_layers,
            embedding=initial_embedding(N_ITEMS, DIM, generator),
            weight=WEIGHTS[name],
            generator=generator,
        )
    kind = {"items": ItemLightGCN, "lightgcn": LightGCN}[config.backbone]
    backbone = kind(graph, DIM, config.behaviour_layers, generator)
    return DRepMRec(backbone, encoders, history, config, generator)


def make_batch() -> Batch:
    users, items = interactions()
    return Batch(users, items, torch.arange(5))


def test_lightgcn_is_the_mean_of_the_powers_of_the_normalised_adjacency() -> None:
    users, items = interactions()
    graph = interaction_graph(users, items, N_USERS, N_ITEMS)
    backbone = LightGCN(graph, DIM, 3, torch.Generator().manual_seed(0))
    adjacency = torch.zeros(N_USERS + N_ITEMS, N_USERS + N_ITEMS)
    adjacency[users, N_USERS + items] = 1
    adjacency += adjacency.T.clone()
    inverse_root = adjacency.sum(1).clamp_min(1).rsqrt()
    normalised = inverse_root[:, None] * adjacency * inverse_root[None]
    layer = torch.cat(backbone.embeddings())
    layers = [layer]
    for _ in range(3):
        layers.append(normalised @ layers[-1])
    torch.testing.assert_close(torch.cat(backbone()), torch.stack(layers).mean(0))


def test_filter_gate_is_its_equation() -> None:
    gate = FilterGate(5, DIM, torch.Generator().manual_seed(0))
    x = torch.randn(7, 5)
    value = x @ gate.value.weight.T + gate.value.bias
    expected = value * torch.sigmoid(x @ gate.gate.weight.T + gate.gate.bias)
    torch.testing.assert_close(gate(x), expected)


def test_modal_encoder_is_dense_algebra() -> None:
    encoder = make_model(item_layers=2, user_layers=1).encoders[0]
    assert isinstance(encoder, ModalEncoder)
    assert encoder.gate is not None and encoder.user_graph is not None
    h = (encoder.gate(encoder.features) + encoder.embedding) * encoder.present
    a, s = encoder.item_graph.to_dense(), encoder.user_graph.to_dense()
    items = (h + a @ h + a @ a @ h) / 3
    torch.testing.assert_close(encoder(), items)
    users = torch.randn(N_USERS, DIM)
    torch.testing.assert_close(encoder.propagate_users(users), (users + s @ users) / 2)


def test_users_of_a_line_are_the_mean_of_its_unit_items() -> None:
    model = make_model(user_layers=0)
    mean = model.history.mean.to_dense()
    lines = model.lines()
    items = [model.backbone()[1], *(encoder() for encoder in model.encoders)]
    for vectors, expected in zip(lines.values(), items, strict=True):
        torch.testing.assert_close(vectors.items, expected)
        torch.testing.assert_close(model.users_of(vectors), mean @ F.normalize(expected, dim=1))


def test_item_lightgcn_is_lightgcn_with_users_that_start_at_zero() -> None:
    users, items = interactions()
    graph = interaction_graph(users, items, N_USERS, N_ITEMS)
    one = ItemLightGCN(graph, DIM, 4, torch.Generator().manual_seed(0))
    other = LightGCN(graph, DIM, 4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        other.embeddings.users.zero_()
        other.embeddings.items.copy_(one.items)
    # Layers 1 and 3 of the items are zero: the mean over 0…4 has 3 of 5 terms.
    torch.testing.assert_close(one()[1], other()[1] * 5 / 3)
    assert one()[0] is None


def test_leaving_one_out_is_the_mean_of_the_others() -> None:
    users, items = interactions()
    history = History(users, items, N_USERS, N_ITEMS)
    x = torch.randn(N_ITEMS, DIM)
    found = history.without(history.users(x), x, users, items)
    for row, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        others = [i for u, i in zip(users.tolist(), items.tolist(), strict=True) if u == user]
        others.remove(item)
        expected = x[others].mean(0) if others else torch.zeros(DIM)
        torch.testing.assert_close(found[row], expected)


@pytest.mark.parametrize("user_layers", [0, 1])
def test_a_batchs_users_do_not_contain_the_item_that_is_ranked(user_layers: int) -> None:
    """Moving the ranked item moves no user of its row, except over the user–user graph."""
    model = make_model(user_layers=user_layers)
    with torch.no_grad():
        line = model.lines()["image"]
        before = model._batch_users(line, make_batch())
        moved = line.items.clone()
        moved[0] = -moved[0]
        line = line._replace(items=moved)
        if line.users is not None:
            still = model.lines()["image"]
            change = model.users_of(Line(moved)) - model.users_of(Line(still.items))
            line = line._replace(users=line.users + change / line.layers)
        after = model._batch_users(line, make_batch())
    ranked = make_batch().item_idx == 0
    torch.testing.assert_close(before[ranked], after[ranked])
    assert not torch.allclose(before[~ranked], after[~ranked])


def test_mean_of_layers_without_a_graph_changes_nothing() -> None:
    x = torch.randn(4, 2)
    assert mean_of_layers(None, x, 3) is x


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


def gradients(model: DRepMRec, term: str) -> set[str]:
    """Names of the parameters that a term's gradient moves."""
    model.zero_grad(set_to_none=True)
    model.loss(make_batch())[term].backward()
    return {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


EVERY_TERM: dict[str, Any] = {
    "line_ranking": 0.5,
    "intra_alignment": 0.1,
    "modality_alignment": 0.1,
    "inter_alignment": 0.1,
    "sss": 0.3,
}


def test_each_term_moves_what_it_should() -> None:
    model = make_model(**EVERY_TERM)
    lines = {"backbone", "encoders"}
    assert gradients(model, "rank") == lines | {"bias"}
    assert gradients(model, "line_rank") == lines | {"bias"}
    assert gradients(model, "intra") == lines
    assert gradients(model, "modality") == {"encoders"}
    assert gradients(model, "sss") == {"encoders"}
    assert gradients(model, "inter") == lines | {"projections"}


@pytest.mark.parametrize(
    ("reach", "moved"),
    [
        ("behaviour", {"backbone", "projections"}),
        ("modal", {"encoders", "projections"}),
    ],
)
def test_reach_of_inter_alignment_is_a_choice(reach: str, moved: set[str]) -> None:
    model = make_model(inter_alignment=0.1, alignment_reach=reach)
    assert gradients(model, "inter") == moved


def test_terms_are_there_exactly_when_they_have_a_weight() -> None:
    assert set(make_model(sss=0).loss(make_batch())) == {"rank"}
    expected = {"rank", "line_rank", "intra", "modality", "inter", "sss"}
    assert set(make_model(**EVERY_TERM).loss(make_batch())) == expected


def test_weights_scale_their_terms() -> None:
    once = make_model(sss=0.3, intra_alignment=0.1).loss(make_batch())
    twice = make_model(sss=0.6, intra_alignment=0.2).loss(make_batch())
    for name in ("sss", "intra"):
        torch.testing.assert_close(twice[name], 2 * once[name])
    torch.testing.assert_close(twice["rank"], once["rank"])


@pytest.mark.slow
@pytest.mark.parametrize("ranking", ["softmax", "bpr"])
@pytest.mark.parametrize("backbone", ["items", "lightgcn"])
def test_a_few_steps_order_what_was_liked_before_what_was_not(ranking: str, backbone: str) -> None:
    model = make_model(ranking=ranking, backbone=backbone, leave_one_out=False)
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    users, items = interactions()
    batch = Batch(users, items, torch.arange(N_ITEMS))
    for _ in range(80):
        optimiser.zero_grad()
        torch.stack(list(model.loss(batch).values())).sum().backward()
        optimiser.step()
    vectors = model()
    scores = vectors.users @ vectors.items.T
    liked = torch.zeros_like(scores, dtype=torch.bool)
    liked[users, items] = True
    assert scores[liked].mean() > scores[~liked].mean() + 0.3


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


def test_rows_that_leave_nothing_of_the_user_are_left_out() -> None:
    model = make_model()
    users, items = interactions()
    model.history.counts[[2, 5]] = 1.0
    batch = model._informative(make_batch())
    kept = (users != 2) & (users != 5)
    assert torch.equal(batch.user_idx, users[kept])
    assert torch.equal(batch.item_idx, items[kept])
    for everything in (make_model(leave_one_out=False), make_model(backbone="lightgcn")):
        assert torch.equal(everything._informative(make_batch()).user_idx, users)
