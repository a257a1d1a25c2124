"""VBPR (He & McAuley 2016, arXiv 1510.01784).

s(u, i) = α + β_u + β_i + ⟨γ_u, γ_i⟩ + ⟨θ_u, E f_i⟩ + ⟨β', f_i⟩                        (eq. 4)

α and β_u do not change a user's ranking and are omitted. f_i concatenates all modalities, zero for
missing ones. Columns of the vectors: ids, content, bias; D in all.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.baselines.base import BaselineModel, TrainInteractions
from models.baselines.config import PairwiseConfig
from models.behaviour import initial_embedding
from models.trainable import Batch, Vectors


class Vbpr(BaselineModel):
    """VBPR: matrix factorisation plus a linear map of content.

    Args:
        train: see `BaselineModel`.
        features: [I, F] of all modalities, concatenated.
        dim: D ≥ 3; half of the columns for ids, one for the bias, the rest for content.
        config: hyper-parameters.
        generator: for the initial weights.
    """

    features: Tensor

    def __init__(
        self,
        train: TrainInteractions,
        features: Tensor,
        dim: int,
        config: PairwiseConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(train)
        self.config = config
        self.register_buffer("features", features, persistent=False)
        n_ids = dim // 2
        self.user_ids = initial_embedding(train.n_users, n_ids, generator)
        self.item_ids = initial_embedding(train.n_items, n_ids, generator)
        self.user_content = initial_embedding(train.n_users, dim - n_ids - 1, generator)
        self.projection = initial_embedding(features.shape[1], dim - n_ids - 1, generator)
        self.item_bias = nn.Parameter(torch.zeros(train.n_items, 1))
        self.content_bias = nn.Parameter(torch.zeros(features.shape[1], 1))

    def forward(self) -> Vectors:
        """Users [U, D] and items [I, D]."""
        bias = self.item_bias + self.features @ self.content_bias
        ones = torch.ones_like(self.user_ids[:, :1])
        return Vectors(
            torch.cat([self.user_ids, self.user_content, ones], 1),
            torch.cat([self.item_ids, self.features @ self.projection, bias], 1),
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """BPR and L₂ of the batch's embeddings and biases, and of E and β' once per batch."""
        per_user = torch.cat([self.user_ids, self.user_content], 1)
        per_item = torch.cat([self.item_ids, self.item_bias], 1)
        maps = self.projection.square().sum() + self.content_bias.square().sum()
        items = torch.cat([batch.item_idx, self.drawn(batch)])
        embeddings = F.embedding(batch.user_idx, per_user).square().sum()
        embeddings = embeddings + F.embedding(items, per_item).square().sum()
        l2 = 0.5 * (embeddings + maps) / len(batch.user_idx)
        return {"rank": self.ranking(self(), batch), "l2": self.config.l2 * l2}
