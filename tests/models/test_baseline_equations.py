"""The baselines' equations, computed by hand or with dense algebra."""

import pytest
import torch
from torch.nn import functional as F

from models.baselines.backbone import BackboneBpr
from models.baselines.base import TrainInteractions
from models.baselines.config import FreedomConfig, MgcnConfig, PairwiseConfig
from models.baselines.freedom import Freedom, sample_kept_edges
from models.baselines.mgcn import Fuser, Mgcn, View, cosine_graph
from models.baselines.vbpr import Vbpr
from models.behaviour import MatrixFactorisation
from models.graphs import relation_graph
from models.trainable import Batch

# Users 0, 1, 2 took items {0, 1}, {0, 2}, {0}; nobody took item 3.
USERS, ITEMS = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 0, 2, 0])
TRAIN = TrainInteractions(USERS, ITEMS, n_users=3, n_items=4)
NEIGHBOURS = torch.tensor([[0, 1], [0, 2], [1, -1], [-1, -1]])
COSINES = torch.tensor([[1.0, 0.5], [0.5, 0.2], [0.2, 0.0], [0.0, 0.0]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_bpr_and_l2_by_hand() -> None:
    config = PairwiseConfig(l2=0.5)
    model = BackboneBpr(TRAIN, 2, None, config, seeded())
    assert isinstance(model.backbone, MatrixFactorisation)
    with torch.no_grad():
        model.backbone.users.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 1]]))
        model.backbone.items.copy_(torch.tensor([[1.0, 2], [3, 4], [5, 6], [7, 8]]))
    terms = model.loss(Batch(torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([3, 1])))
    # Scores: user 0 has 1 for item 0 and 7 for item 3; user 1 has 6 for item 2 and 4 for item 1.
    rank = F.softplus(torch.tensor([6.0, -2.0])).mean()
    torch.testing.assert_close(terms["rank"], rank)
    squares = (1 + (1 + 4) + (49 + 64)) + (1 + (25 + 36) + (9 + 16))
    torch.testing.assert_close(terms["l2"], torch.tensor(0.5 * 0.5 * squares / 2))


def test_vbpr_score_is_its_equation() -> None:
    features = torch.randn(4, 5, generator=seeded())
    model = Vbpr(TRAIN, features, 8, PairwiseConfig(), seeded())
    with torch.no_grad():
        model.item_bias.copy_(torch.randn(4, 1, generator=seeded(1)))
        model.content_bias.copy_(torch.randn(5, 1, generator=seeded(2)))
    vectors = model()
    found = vectors.users @ vectors.items.T
    for u in range(3):
        for i in range(4):
            expected = (
                model.item_bias[i, 0]
                + model.user_ids[u] @ model.item_ids[i]
                + model.user_content[u] @ (features[i] @ model.projection)
                + model.content_bias[:, 0] @ features[i]
            )
            torch.testing.assert_close(found[u, i], expected)


@pytest.mark.parametrize(("share", "n"), [(0.0, 5), (0.5, 2), (0.8, 1), (0.3, 3)])
def test_pruning_keeps_the_right_number_of_edges(share: float, n: int) -> None:
    kept = sample_kept_edges(USERS, ITEMS, share, seeded())
    assert len(kept) == n
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_pruning_keeps_edges_by_the_probabilities_of_the_paper() -> None:
    # Degrees of users 2, 2, 1 and of items 3, 1, 1: weights 1/√6, 1/√2, 1/√6, 1/√2, 1/√3.
    weights = torch.tensor([6.0, 2.0, 6.0, 2.0, 3.0]).rsqrt()
    generator, n = seeded(), 20_000
    drawn = torch.stack(
        [sample_kept_edges(USERS, ITEMS, 0.8, generator) for _ in range(n)]
    ).flatten()
    shares = torch.bincount(drawn, minlength=5) / n
    torch.testing.assert_close(shares, weights / weights.sum(), atol=0.015, rtol=0)


def freedom(pruned: float = 0.5) -> Freedom:
    graph = relation_graph(NEIGHBOURS, COSINES)
    config = FreedomConfig(pruned=pruned)
    features = [torch.randn(4, 3, generator=seeded(m)) for m in (1, 2)]
    return Freedom(
        TRAIN,
        features=features,
        item_graphs=[graph, relation_graph(NEIGHBOURS.flip(1), COSINES.flip(1))],
        weights=[0.1, 0.9],
        dim=4,
        user_item_layers=2,
        item_layers=1,
        config=config,
        generator=seeded(),
    )


def test_freedom_is_dense_algebra() -> None:
    model = freedom()
    s = 0.1 * model.item_graphs[0].to_dense() + 0.9 * model.item_graphs[1].to_dense()
    users, items = model.light_gcn()
    vectors = model()
    torch.testing.assert_close(vectors.users, users)
    torch.testing.assert_close(vectors.items, items + s @ model.light_gcn.embeddings.items)


def test_freedom_prunes_each_epoch_for_the_loss_and_never_for_the_vectors() -> None:
    model, batch = freedom(), Batch(USERS, ITEMS, torch.tensor([3]))
    vectors, generator, seen = model(), seeded(), set()
    for _ in range(20):
        model.begin_epoch(generator)
        pruned = model.pruned.to_dense()
        assert int((pruned > 0).sum()) == 2
        seen.add(tuple(pruned.flatten().tolist()))
        model.loss(batch)
        torch.testing.assert_close(model().users, vectors.users)
    assert len(seen) > 3


def test_cosine_graph_by_hand() -> None:
    # Row sums without the item itself: 0.5, 0.7, 0.2, 0.
    d = [0.5**-0.5, 0.7**-0.5, 0.2**-0.5]
    expected = torch.zeros(4, 4)
    expected[0, 1] = expected[1, 0] = 0.5 * d[0] * d[1]
    expected[1, 2] = expected[2, 1] = 0.2 * d[1] * d[2]
    found = cosine_graph(NEIGHBOURS, COSINES, itself=False)
    torch.testing.assert_close(found.to_dense(), expected)


def test_cosine_graph_with_the_item_itself_by_hand() -> None:
    # Of two places one is left: row sums 1 + 0.5, 1 + 0 (its first is itself), 1 + 0.2, 1.
    neighbours = torch.tensor([[1, 2], [1, 2], [1, -1], [-1, -1]])
    cosines = torch.tensor([[0.5, 0.1], [1.0, 0.2], [0.2, 0.0], [0.0, 0.0]])
    d = [1.5**-0.5, 1.0, 1.2**-0.5, 1.0]
    expected = torch.diag(torch.tensor(d).square())
    expected[0, 1] = 0.5 * d[0] * d[1]
    expected[2, 1] = 0.2 * d[2] * d[1]
    found = cosine_graph(neighbours, cosines, itself=True)
    torch.testing.assert_close(found.to_dense(), expected)


def make_view(width: int, seed: int, n_layers: int = 1, trained: bool = False) -> View:
    features = torch.randn(4, width, generator=seeded(seed))
    present = torch.tensor([True, True, True, False])
    graph = cosine_graph(NEIGHBOURS, COSINES, itself=trained)
    return View(features, trained, present, graph, n_layers, 4, seeded(seed))


def test_mgcn_purifier_is_its_equation() -> None:
    view, items = make_view(3, 1, n_layers=2), torch.randn(4, 4, generator=seeded(5))
    w1, b1, w2, b2 = (p.detach() for layer in (view.project, view.gate) for p in layer.parameters())
    gate = torch.sigmoid((view.features @ w1.T + b1) @ w2.T + b2)
    expected = items * gate
    expected[3] = 0  # which lacks the modality
    torch.testing.assert_close(view.purified(items), expected)
    s = view.graph.to_dense()
    torch.testing.assert_close(view(items), s @ s @ expected)


def test_mgcn_fuser_is_its_equation() -> None:
    fuser = Fuser(2, 4, seeded())
    behaviour, a, b = (torch.randn(6, 4, generator=seeded(n)) for n in (1, 2, 3))
    weights = [torch.tanh(fuser.key(x)) @ fuser.query for x in (a, b)]
    share = torch.sigmoid(weights[0] - weights[1])
    shared = share * a + (1 - share) * b
    side = shared
    for view, layer in ((a, fuser.preferences[0]), (b, fuser.preferences[1])):
        side = side + (view - shared) * torch.sigmoid(layer(behaviour))
    torch.testing.assert_close(fuser(behaviour, [a, b]), side / 3)


def make_mgcn(as_code: bool = False) -> Mgcn:
    views = [make_view(3, 1, trained=as_code), make_view(2, 2, trained=as_code)]
    return Mgcn(TRAIN, views, 4, 2, MgcnConfig(as_code=as_code), seeded())


def test_mgcn_users_see_what_they_took() -> None:
    model = make_mgcn()
    r = model.light_gcn.graph.to_dense()
    items = [view(model.light_gcn.embeddings.items) for view in model.views]
    behaviour = torch.cat(model.light_gcn())
    side = model.fuser(behaviour, [torch.cat([r @ x, x]) for x in items])
    torch.testing.assert_close(torch.cat(model()), behaviour + side)
    terms = model.loss(Batch(USERS, ITEMS, torch.tensor([3])))
    assert set(terms) == {"rank", "contrast", "l2"}


def find_their_own(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    shares = (F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / 0.2).exp()
    return -(shares.diagonal() / shares.sum(1)).log().mean()


def test_mgcn_contrasts_users_and_items_each_once_and_both_ways() -> None:
    model = make_mgcn()
    behaviour, side = model.both()
    expected = sum(
        (find_their_own(side[part], behaviour[part]) + find_their_own(behaviour[part], side[part]))
        / 2
        for part in ([0, 1, 2], [3, 4, 5])
    )
    found = model.loss(Batch(USERS, ITEMS, torch.tensor([3])))["contrast"]
    torch.testing.assert_close(found, 0.01 * expected)


def test_mgcn_as_the_code_contrasts_interactions_and_trains_the_features() -> None:
    model = make_mgcn(as_code=True)
    behaviour, side = model.both()
    expected = sum(
        find_their_own(side[rows], behaviour[rows]) for rows in (USERS, len(USERS.unique()) + ITEMS)
    )
    terms = model.loss(Batch(USERS, ITEMS, torch.tensor([3])))
    torch.testing.assert_close(terms["contrast"], 0.01 * expected)
    terms["rank"].backward()
    for view in model.views:
        assert isinstance(view, View) and view.features.grad is not None
        assert view.features.grad.abs().sum() > 0
