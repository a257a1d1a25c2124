"""MGCN's behaviour-guided purifier and its item–item views; see `models/rivals/mgcn.py`."""

import torch
from torch import Tensor, nn

from models.rivals.base import linear
from models.sparse import SparseMatrix


def cosine_graph(neighbours: Tensor, cosines: Tensor) -> SparseMatrix:
    """D^{-½} S D^{-½} [I, I], S the cosines of the k nearest, itself first, D its row sums.

    Args:
        neighbours: [I, k], -1 where there is none; the last makes room for the item itself.
        cosines: [I, k]; what is not similar at all (cosine ≤ 0) is no neighbour.
    """
    n_items = len(neighbours)
    own, others, of_others = torch.arange(n_items).unsqueeze(1), neighbours[:, :-1], cosines[:, :-1]
    columns = torch.cat([own, others], 1)
    valid = torch.cat([own >= 0, (others >= 0) & (others != own) & (of_others > 0)], 1)
    weights = torch.cat([torch.ones(n_items, 1), of_others], 1) * valid
    inverse_root = weights.sum(1, keepdim=True).rsqrt()
    values = inverse_root * weights * inverse_root.squeeze(1)[columns]
    rows = own.expand_as(columns)
    return SparseMatrix(rows[valid], columns[valid], values[valid], (n_items, n_items))


class View(nn.Module):
    """A modality's view of the items: purified embeddings, propagated.

    Args:
        features: [I, F_m], where they start; they are trained with the rest.
        present: [I] bool.
        graph: S_m [I, I].
        n_layers: L.
        dim: D.
        generator: for the initial weights.
    """

    present: Tensor

    def __init__(
        self,
        features: Tensor,
        present: Tensor,
        graph: SparseMatrix,
        n_layers: int,
        dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.n_layers = n_layers
        self.features = nn.Parameter(features.clone())
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
