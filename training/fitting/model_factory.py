"""Factory of DRepMRec: an untrained model from train interactions and modalities."""

import torch
from torch import Tensor
from torch.nn import functional as F

from bundle.csr import Csr
from models.behaviour import ItemLightGCN, LightGCN, MatrixFactorisation, initial_embedding
from models.config import ModelConfig
from models.drepmrec import DRepMRec
from models.graphs import edges, interaction_graph, relation_graph
from models.history import History
from models.modal import ModalEncoder
from models.sparse import SparseMatrix
from training.data.dataset import Modality
from training.fitting.linear_part import build_linear_part
from training.fitting.modality_weights import agreement, co_interaction, weights
from training.fitting.neighbours import find_neighbours

Backbone = ItemLightGCN | LightGCN | MatrixFactorisation
USER_NEIGHBOURS = 10
"""k of the user–user graphs; no key of the configuration, because users are not propagated by
default."""


def build_model(
    train: Csr,
    modalities: dict[str, Modality],
    config: ModelConfig,
    generator: torch.Generator,
    device: torch.device,
) -> DRepMRec:
    """Build DRepMRec.

    Initial weights are drawn on the CPU and hence equal on all devices.

    Args:
        train: train interactions, U × I.
        modalities: of the I items, by name.
        config: hyper-parameters.
        generator: for the initial weights, on the CPU.
        device: of the model.
    """
    user_idx, item_idx = (torch.from_numpy(idx).long() for idx in train.pairs())
    shape = (train.n_rows, train.n_cols)
    backbone: Backbone
    match config.backbone:
        case "lightgcn":
            graph = interaction_graph(user_idx, item_idx, *shape)
            backbone = LightGCN(graph, config.dim, config.behaviour_layers, generator)
        case "items":
            graph = interaction_graph(user_idx, item_idx, *shape)
            backbone = ItemLightGCN(graph, config.dim, config.behaviour_layers, generator)
        case "mf":
            backbone = MatrixFactorisation(*shape, config.dim, generator)
    history = History(user_idx, item_idx, *shape)
    # Unit length, so that the scale of the features does not matter.
    features = {n: F.normalize(torch.from_numpy(m.features), dim=1) for n, m in modalities.items()}
    neighbours = {
        name: item_neighbours(name, modality, features[name], config.neighbours, device)
        for name, modality in modalities.items()
    }
    weight = _weights(train, neighbours, config)
    encoders = {}
    for name, modality in modalities.items():
        if config.coupled:
            embedding = backbone.item_embedding
        elif config.free_embedding or not features[name].shape[1]:
            embedding = initial_embedding(train.n_cols, config.dim, generator)
        else:
            embedding = None
        encoders[name] = ModalEncoder(
            features=features[name],
            present=torch.from_numpy(modality.present),
            item_graph=relation_graph(*neighbours[name]),
            user_graph=(
                _user_graph(name, history, features[name], device) if config.user_layers else None
            ),
            dim=config.dim,
            item_layers=config.item_layers,
            user_layers=config.user_layers,
            embedding=embedding,
            weight=weight[name],
            generator=generator,
        )
    linear = build_linear_part(train, config)
    return DRepMRec(backbone, encoders, history, config, generator, linear).to(device)


def without_effect(modalities: dict[str, Modality], config: ModelConfig) -> list[str]:
    """Sentences on loss terms that the configuration asks for and that have nothing to do.

    Args:
        modalities: of the items, by name.
        config: hyper-parameters.
    """
    terms = {
        "model.sss": config.sss,
        "model.inter_alignment": config.inter_alignment,
        "model.modality_alignment": config.modality_alignment,
    }
    asked = [key for key, weight in terms.items() if weight]
    if not modalities:
        return [f"the data have no modality: no modal line, no effect of {key}" for key in asked]
    found = []
    if config.sss:
        graphs = [name for name, modality in modalities.items() if not modality.has_features]
        found += [f"{name} has a graph but no features: model.sss leaves it out" for name in graphs]
    if config.modality_alignment and len(modalities) < 2:
        found.append("the data have one modality: no effect of model.modality_alignment")
    return found


def _weights(
    train: Csr, neighbours: dict[str, tuple[Tensor, Tensor]], config: ModelConfig
) -> dict[str, float]:
    """Weights of the modalities within the modal line."""
    if config.modality_weights == "equal" or len(neighbours) < 2:
        return dict.fromkeys(neighbours, 1.0)
    items = co_interaction(train)
    pairs = {name: edges(*found) for name, found in neighbours.items()}
    return weights({n: agreement(items, *(i.numpy() for i in idx)) for n, idx in pairs.items()})


def item_neighbours(
    name: str, modality: Modality, features: Tensor, k: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Neighbours and cosines [I, k], taken from the data if given there, else computed."""
    if modality.neighbour_idx is not None and modality.neighbour_cos is not None:
        given = torch.from_numpy(modality.neighbour_idx).long()
        return given, torch.from_numpy(modality.neighbour_cos)
    present = torch.from_numpy(modality.present)
    return find_neighbours(features, present, k, device, f"{name} of the items")


def _user_graph(
    name: str, history: History, features: Tensor, device: torch.device
) -> SparseMatrix:
    aggregated = history.users(features)
    known = aggregated.abs().sum(1) > 0
    return relation_graph(
        *find_neighbours(aggregated, known, USER_NEIGHBOURS, device, f"{name} of the users")
    )
