"""The modal line: user and item vectors from the items' content features."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.sparse import SparseMatrix


def mean_of_layers(graph: SparseMatrix | None, x: Tensor, n_layers: int) -> Tensor:
    """Layer-averaged propagation: mean of x, A x, … A^L x, [n, D] → [n, D]."""
    if graph is None:
        return x
    total = x
    for _ in range(n_layers):
        x = graph.matmul(x)
        total = total + x
    return total / (n_layers + 1)


class FilterGate(nn.Module):
    """Filter gate h = (W₁x + b₁) ⊙ σ(W₂x + b₂): selects features that matter for preferences.

    Args:
        n_features: F_m.
        dim: D.
        generator: for the initial weights.
    """

    def __init__(self, n_features: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.value = nn.Linear(n_features, dim)
        self.gate = nn.Linear(n_features, dim)
        for linear in (self.value, self.gate):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F_m] → [B, D]."""
        gated: Tensor = self.value(x) * torch.sigmoid(self.gate(x))
        return gated


class ModalEncoder(nn.Module):
    """Encoder of one modality.

    Items are gated features plus an optional free embedding, propagated over the item–item graph.
    Users are the mean of their items (`models.history`), propagated over the user–user graph.

    Args:
        features: [I, F_m], unit or zero rows; F_m = 0 if only a graph is given.
        present: [I] bool; items that have the modality.
        item_graph: [I, I] relation graph of the modality.
        user_graph: [U, U]; None for no propagation of users.
        dim: D.
        item_layers, user_layers: numbers of propagation layers.
        embedding: [I, D] free embedding; None for none.
        weight: of the modality within the modal line.
        generator: for the initial weights.
    """

    features: Tensor
    present: Tensor

    def __init__(
        self,
        features: Tensor,
        present: Tensor,
        item_graph: SparseMatrix,
        user_graph: SparseMatrix | None,
        dim: int,
        item_layers: int,
        user_layers: int,
        embedding: nn.Parameter | None,
        weight: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("present", present.float().unsqueeze(1), persistent=False)
        self.item_graph = item_graph
        self.user_graph = user_graph
        self.item_layers = item_layers
        self.user_layers = user_layers
        self.gate = FilterGate(features.shape[1], dim, generator) if features.shape[1] else None
        self.embedding = embedding
        self.weight = weight

    def own(self) -> Tensor:
        """Item vectors before propagation [I, D]; zero for items without the modality."""
        h = torch.zeros((), device=self.present.device)
        if self.gate is not None:
            h = h + self.gate(self.features)
        if self.embedding is not None:
            h = h + self.embedding
        return h * self.present

    def forward(self) -> Tensor:
        """Item vectors [I, D]."""
        return mean_of_layers(self.item_graph, self.own(), self.item_layers)

    def propagate_users(self, users: Tensor) -> Tensor:
        """Propagate users over the user–user graph: [U, D] → [U, D]."""
        return mean_of_layers(self.user_graph, users, self.user_layers)


def unit(x: Tensor) -> Tensor:
    """Rows scaled to unit length; zero rows stay zero."""
    return F.normalize(x, dim=1)
