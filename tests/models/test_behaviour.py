"""Backbones: LightGCN and the item graph against dense algebra."""

import torch

from models.behaviour import ItemLightGCN, LightGCN
from models.graphs import interaction_graph
from tests.models.small_model import DIM, N_ITEMS, N_USERS, interactions


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
