"""MF-BPR (Rendle et al. 2009, arXiv 1205.2618) and LightGCN (He et al. 2020, arXiv 2002.02126).

L = −Σ ln σ(⟨e_u, e_i⟩ − ⟨e_u, e_j⟩) + λ ‖E⁰‖², e from E⁰ by the backbone: as it is, or propagated.
"""

import torch
from torch import Tensor

from models.behaviour import LightGCN, MatrixFactorisation
from models.drepmrec import Batch, Vectors
from models.graphs import interaction_graph
from models.rivals.base import Rival
from models.rivals.config import PairwiseConfig


class BackboneBpr(Rival):
    """The behaviour line's backbones as they are trained in the literature.

    Args:
        user_idx, item_idx, n_users, n_items: see `Rival`.
        dim: D.
        n_layers: L of LightGCN; None for matrix factorisation.
        config: hyper-parameters.
        generator: for the initial embeddings.
    """

    def __init__(
        self,
        user_idx: Tensor,
        item_idx: Tensor,
        n_users: int,
        n_items: int,
        dim: int,
        n_layers: int | None,
        config: PairwiseConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(user_idx, item_idx, n_users, n_items)
        self.config = config
        self.backbone: LightGCN | MatrixFactorisation
        if n_layers is None:
            self.backbone = MatrixFactorisation(n_users, n_items, dim, generator)
        else:
            graph = interaction_graph(user_idx, item_idx, n_users, n_items)
            self.backbone = LightGCN(graph, dim, n_layers, generator)

    def forward(self) -> Vectors:
        """Users [U, D] and items [I, D]."""
        return Vectors(*self.backbone())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """BPR, and L₂ of what is learned: the embeddings before propagation."""
        backbone = self.backbone
        learned = backbone.embeddings if isinstance(backbone, LightGCN) else backbone
        return {
            "rank": self.ranking(self(), batch),
            "l2": self.config.l2 * self.l2(Vectors(learned.users, learned.items), batch),
        }
