"""Base class of the baselines: BPR on raw inner products with one negative per interaction."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.graphs import interaction_graph
from models.losses import bpr
from models.sparse import SparseMatrix
from models.trainable import Batch, Trainable, Vectors


class TrainInteractions(NamedTuple):
    """Train interactions, from which every baseline is built.

    Attributes:
        user_idx, item_idx: [nnz], each pair once.
        n_users, n_items: U and I.
    """

    user_idx: Tensor
    item_idx: Tensor
    n_users: int
    n_items: int

    def graph(self) -> SparseMatrix:
        """Normalised interaction graph [U, I], for LightGCN."""
        return interaction_graph(*self)


class BaselineModel(Trainable):
    """A baseline that is trained by BPR.

    Args:
        train: interactions; they are never used as negatives of their user.
    """

    observed: Tensor

    def __init__(self, train: TrainInteractions) -> None:
        super().__init__()
        self.n_users, self.n_items = train.n_users, train.n_items
        keys = torch.sort(train.user_idx * train.n_items + train.item_idx).values
        self.register_buffer("observed", keys, persistent=False)

    def ranked(self) -> Vectors:
        """The vectors that `loss` ranks by: those of `forward`, unless a graph is sampled."""
        vectors: Vectors = self()
        return vectors

    def drawn(self, batch: Batch) -> Tensor:
        """One negative per interaction, [B], taken from the batch's shared negatives.

        Interaction i takes negative i mod N. The shared negatives are independent and uniform, so
        with N ≥ B this equals drawing one negative for each interaction.
        """
        place = torch.arange(len(batch.user_idx), device=batch.negatives.device)
        return batch.negatives[place % len(batch.negatives)]

    def ranking(self, vectors: Vectors, batch: Batch, users: Tensor | None = None) -> Tensor:
        """BPR loss −log σ(s⁺ − s⁻), mean over the batch.

        A negative that is one of the user's train items adds nothing: rejection sampling, except
        that the interaction waits for the next epoch instead of a second draw.

        Args:
            vectors: of all users and items.
            batch: the interactions.
            users: [B, D] of the batch's rows, where they are not those of the vectors.
        """
        negatives = self.drawn(batch)
        users = F.embedding(batch.user_idx, vectors.users) if users is None else users
        positive = (users * F.embedding(batch.item_idx, vectors.items)).sum(1)
        negative = (users * F.embedding(negatives, vectors.items)).sum(1)
        keys = batch.user_idx * self.n_items + negatives
        place = torch.searchsorted(self.observed, keys).clamp_max(len(self.observed) - 1)
        negative = negative.masked_fill(self.observed[place] == keys, -torch.inf)
        return bpr(positive, negative.unsqueeze(1))

    def l2(self, vectors: Vectors, batch: Batch) -> Tensor:
        """L₂ term ½ (‖e_u‖² + ‖e_i‖² + ‖e_j‖²), mean over the batch (LightGCN, eq. 15)."""
        parts = (
            F.embedding(batch.user_idx, vectors.users),
            F.embedding(batch.item_idx, vectors.items),
            F.embedding(self.drawn(batch), vectors.items),
        )
        return 0.5 * torch.cat(parts).square().sum() / len(batch.user_idx)


def linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """Linear layer W x + b with Xavier-uniform W and b = 0."""
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
