"""MF-BPR (Rendle et al. 2009, arXiv 1205.2618) and LightGCN (He et al. 2020, arXiv 2002.02126).

L = −Σ ln σ(⟨e_u, e_i⟩ − ⟨e_u, e_j⟩) + λ ‖E⁰‖², where the backbone maps E⁰ to e: the identity for
matrix factorisation, propagation for LightGCN.
"""

import torch
from torch import Tensor

from models.baselines.base import BaselineModel
from models.baselines.config import PairwiseConfig
from models.behaviour import LightGCN, MatrixFactorisation
from models.graphs import interaction_graph
from models.trainable import Batch, Vectors


class BackboneBpr(BaselineModel):
    """MF-BPR or LightGCN, trained as in the literature.

    Args:
        user_idx, item_idx, n_users, n_items: see `BaselineModel`.
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
        """BPR and L₂ of the embeddings before propagation."""
        backbone = self.backbone
        learned = backbone.embeddings if isinstance(backbone, LightGCN) else backbone
        return {
            "rank": self.ranking(self(), batch),
            "l2": self.config.l2 * self.l2(Vectors(learned.users, learned.items), batch),
        }
