"""Trainable models: the interface between a model and the training loop."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

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


Metrics = Callable[[Vectors], dict[str, float]]
"""Metrics on valid, by name, of vectors."""


class Trainable(nn.Module, ABC):
    """A model that `training.fitting.trainer` fits: DRepMRec and every baseline.

    A base class and not a protocol, because the training loop also needs what `nn.Module` offers:
    parameters, state and devices.
    """

    @abstractmethod
    def forward(self) -> Vectors:
        """User vectors [U, D] and item vectors [I, D]; score(u, i) is their inner product."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name; the training loop minimises their sum."""

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
        return metrics(self())
