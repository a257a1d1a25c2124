"""A model of nine users and twelve items in three modalities, and a batch of all interactions."""

from typing import Any

import torch
from torch.nn import functional as F

from models.behaviour import ItemLightGCN, LightGCN, initial_embedding
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.graphs import interaction_graph, nearest_neighbours, relation_graph
from models.history import History
from models.modal import ModalEncoder
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


EVERY_TERM: dict[str, Any] = {
    "line_ranking": 0.5,
    "intra_alignment": 0.1,
    "modality_alignment": 0.1,
    "inter_alignment": 0.1,
    "sss": 0.3,
}
