"""What all rivals share: BPR on raw inner products with one drawn item for each interaction."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.drepmrec import Batch, Vectors
from models.losses import bpr


class Rival(nn.Module, ABC):
    """A model that `training.fit` can train.

    Args:
        user_idx, item_idx: [nnz] train interactions; a drawn item that is among its user's is no
            negative.
        n_users, n_items: U and I.
    """

    observed: Tensor

    def __init__(self, user_idx: Tensor, item_idx: Tensor, n_users: int, n_items: int) -> None:
        super().__init__()
        self.n_users, self.n_items = n_users, n_items
        keys = torch.sort(user_idx * n_items + item_idx).values
        self.register_buffer("observed", keys, persistent=False)

    @abstractmethod
    def forward(self) -> Vectors:
        """Users [U, D] and items [I, D]; score(u, i) is their inner product."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is what is minimised."""

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw what is drawn once an epoch; most models draw nothing."""

    def drawn(self, batch: Batch) -> Tensor:
        """One of the batch's shared negatives for each of its interactions, [B].

        The i-th takes number i mod N. The shared ones are independent and uniform, so that with
        N ≥ B these are B independent uniform draws, as if each had been drawn for its interaction.
        """
        place = torch.arange(len(batch.user_idx), device=batch.negatives.device)
        return batch.negatives[place % len(batch.negatives)]

    def ranking(self, vectors: Vectors, batch: Batch) -> Tensor:
        """−log σ(s⁺ − s⁻), mean over the batch.

        A drawn item that its user has taken in train adds nothing. That is sampling with
        rejection, except that the interaction waits for the next epoch instead of a second draw.
        """
        negatives = self.drawn(batch)
        users = F.embedding(batch.user_idx, vectors.users)
        positive = (users * F.embedding(batch.item_idx, vectors.items)).sum(1)
        negative = (users * F.embedding(negatives, vectors.items)).sum(1)
        keys = batch.user_idx * self.n_items + negatives
        place = torch.searchsorted(self.observed, keys).clamp_max(len(self.observed) - 1)
        negative = negative.masked_fill(self.observed[place] == keys, -torch.inf)
        return bpr(positive, negative.unsqueeze(1))

    def l2(self, vectors: Vectors, batch: Batch) -> Tensor:
        """½ (‖e_u‖² + ‖e_i‖² + ‖e_j‖²), mean over the batch (LightGCN, eq. 15, by batch)."""
        parts = (
            F.embedding(batch.user_idx, vectors.users),
            F.embedding(batch.item_idx, vectors.items),
            F.embedding(self.drawn(batch), vectors.items),
        )
        return 0.5 * torch.cat(parts).square().sum() / len(batch.user_idx)


def linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """W x + b with Xavier-uniform W and b = 0."""
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
