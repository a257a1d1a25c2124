"""MGCN's behaviour-guided purifier and its item–item views; see `models/rivals/mgcn.py`."""

import torch
from torch import Tensor, nn

from models.rivals.base import linear
from models.sparse import SparseMatrix


def cosine_graph(neighbours: Tensor, cosines: Tensor, itself: bool) -> SparseMatrix:
    """D^{-½} S D^{-½} [I, I], S the cosines of the k nearest, D its row sums.

    Args:
        neighbours: [I, k], -1 where there is none; an item as its own neighbour is dropped.
        cosines: [I, k]; what is not similar at all (cosine ≤ 0) is no neighbour.
        itself: whether an item is the first of its neighbours, in the place of the last.
    """
    n_items = len(neighbours)
    own = torch.arange(n_items).unsqueeze(1)
    valid = (neighbours >= 0) & (neighbours != own) & (cosines > 0)
    if itself:
        valid = torch.cat([torch.ones_like(own, dtype=torch.bool), valid[:, :-1]], 1)
        neighbours = torch.cat([own, neighbours[:, :-1]], 1)
        cosines = torch.cat([torch.ones(n_items, 1), cosines[:, :-1]], 1)
    inverse_root = (cosines * valid).sum(1).rsqrt().nan_to_num(posinf=0.0)
    scale = inverse_root.unsqueeze(1) * inverse_root[neighbours]
    rows, columns = own.expand_as(neighbours)[valid], neighbours[valid]
    return SparseMatrix(rows, columns, (cosines * scale)[valid], (n_items, n_items))


class View(nn.Module):
    """A modality's view of the items: purified embeddings, propagated.

    Args:
        features: [I, F_m].
        trained: whether the features are trained with the rest.
        present: [I] bool.
        graph: S_m [I, I].
        n_layers: L.
        dim: D.
        generator: for the initial weights.
    """

    features: Tensor
    present: Tensor

    def __init__(
        self,
        features: Tensor,
        trained: bool,
        present: Tensor,
        graph: SparseMatrix,
        n_layers: int,
        dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.n_layers = n_layers
        if trained:
            self.features = nn.Parameter(features.clone())
        else:
            self.register_buffer("features", features, persistent=False)
        self.register_buffer("present", present.float().unsqueeze(1), persistent=False)
        self.project = linear(features.shape[1], dim, generator)
        self.gate = linear(dim, dim, generator)

    def purified(self, items: Tensor) -> Tensor:
        """E_I [I, D] → ē_m [I, D]."""
        share = torch.sigmoid(self.gate(self.project(self.features)))
        return items * share * self.present

    def forward(self, items: Tensor) -> Tensor:
        """E_I [I, D] → E_m [I, D]."""
        x = self.purified(items)
        for _ in range(self.n_layers):
            x = self.graph.matmul(x)
        return x
