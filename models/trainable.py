"""Trainable models: the interface between a model and the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Vectors(NamedTuple):
    """User vectors [U, D] and item vectors [I, D]; score(u, i) is their inner product."""

    users: Tensor
    items: Tensor


class Batch(NamedTuple):
    """A training batch: interactions (user_idx, item_idx) [B] and shared negative items [N]."""

    user_idx: Tensor
    item_idx: Tensor
    negatives: Tensor


class HistoryBatch(NamedTuple):
    """A training batch of users, whose histories are split into parts.

    Each part is ranked for a user who is represented by the other parts.

    Attributes:
        user_idx: [B], of users with two items or more.
        user_of_part: [R] rows of user_idx, ascending, two or more of each.
        part: [n], ascending: the part of each item.
        item_idx: [n], the users' histories.
        negatives: [N] shared negative items, each once.
    """

    user_idx: Tensor
    user_of_part: Tensor
    part: Tensor
    item_idx: Tensor
    negatives: Tensor

    def interactions(self, most: int) -> Batch:
        """Some of the interactions, spread over all users, without negatives."""
        spread = slice(None, None, -(-len(self.item_idx) // most))
        user_idx = self.user_idx[self.user_of_part[self.part[spread]]]
        return Batch(user_idx, self.item_idx[spread], self.negatives[:0])


class Metrics(Protocol):
    """Metrics on valid."""

    def __call__(
        self, vectors: Vectors, added: Vectors | None = None, weights: Sequence[float] = (0.0,)
    ) -> list[dict[str, float]]:
        """Metrics by name, for each weight of the added scores.

        Args:
            vectors: their inner products are scores.
            added: vectors of scores that are added to these, if any.
            weights: of the added scores.
        """


class Trainable(nn.Module, ABC):
    """A model that `training.fitting.trainer` fits: DRepMRec and every baseline.

    A base class and not a protocol, because the training loop also needs what `nn.Module` offers:
    parameters, state and devices.
    """

    @property
    def whole_histories(self) -> bool:
        """True if the model is fitted with `history_loss`, and not with `loss`."""
        return False

    @abstractmethod
    def forward(self) -> Vectors:
        """User vectors [U, D] and item vectors [I, D]; score(u, i) is their inner product."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name; the training loop minimises their sum."""

    def history_loss(self, batch: HistoryBatch) -> dict[str, Tensor]:
        """`loss` of a batch of users; only of models that are configured for it."""
        del batch
        raise TypeError(f"{type(self).__name__} has no loss of whole histories")

    def begin_epoch(self, generator: torch.Generator) -> None:  # most draw nothing
        """Draw what a model samples once per epoch, e.g. a pruned graph."""

    def best_on_valid(
        self,
        metrics: Metrics,
        selected_on: str,  # noqa: ARG002  # most have nothing to choose
    ) -> dict[str, float]:
        """Metrics on valid, after an epoch, with the best choice of weights without a gradient.

        Args:
            metrics: computes them.
            selected_on: the one to maximise.
        """
        return metrics(self())[0]
