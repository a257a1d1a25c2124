"""MF-BPR (Rendle et al. 2009, arXiv 1205.2618) and LightGCN (He et al. 2020, arXiv 2002.02126).

L = −Σ ln σ(⟨e_u, e_i⟩ − ⟨e_u, e_j⟩) + λ ‖E⁰‖², where the backbone maps E⁰ to e: the identity for
matrix factorisation, propagation for LightGCN.
"""

import torch
from torch import Tensor

from models.baselines.base import BaselineModel, TrainInteractions
from models.baselines.config import PairwiseConfig
from models.behaviour import LightGCN, MatrixFactorisation
from models.trainable import Batch, Vectors


class BackboneBpr(BaselineModel):
    """MF-BPR or LightGCN, trained as in the literature.

    Args:
        train: see `BaselineModel`.
        dim: D.
        n_layers: L of LightGCN; None for matrix factorisation.
        config: hyper-parameters.
        generator: for the initial embeddings.
    """

    def __init__(
        self,
        train: TrainInteractions,
        dim: int,
        n_layers: int | None,
        config: PairwiseConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(train)
        self.config = config
        self.backbone: LightGCN | MatrixFactorisation
        if n_layers is None:
            self.backbone = MatrixFactorisation(train.n_users, train.n_items, dim, generator)
        else:
            self.backbone = LightGCN(train.graph(), dim, n_layers, generator)

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
