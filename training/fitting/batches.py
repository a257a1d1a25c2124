"""Batches of an epoch: interactions with sampled negatives, or users with whole histories."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from bundle.csr import Csr
from models.trainable import Batch, HistoryBatch
from training.fitting.config import FitConfig

Part = Callable[[Tensor], Tensor]
"""Chooses a process's rows of a step; all processes draw the same random numbers."""


class EpochBatches(ABC):
    """Batches of one epoch, in an order that is drawn at once; what else they need, one by one.

    Args:
        train: train interactions.
        config: sizes and shares.
        generator: of the draws, on the CPU.
        part: of this process.
        device: of the batches.
    """

    def __init__(
        self,
        train: Csr,
        config: FitConfig,
        generator: torch.Generator,
        part: Part,
        device: torch.device,
    ) -> None:
        self._train = train
        self._config = config
        self._generator = generator
        self._part = part
        self._device = device
        self._steps = self._ordered()

    def __len__(self) -> int:
        """Number of steps."""
        return len(self._steps)

    def __iter__(self) -> Iterator[Batch | HistoryBatch]:
        """The batches."""
        return map(self._batch, self._steps)

    @abstractmethod
    def _ordered(self) -> tuple[Tensor, ...]:
        """Random order of what the epoch goes through, in steps."""

    @abstractmethod
    def _batch(self, step: Tensor) -> Batch | HistoryBatch:
        """The batch of a step."""


class InteractionBatches(EpochBatches):
    """Batches of interactions, each interaction once."""

    def _ordered(self) -> tuple[Tensor, ...]:
        self._pairs = [torch.from_numpy(idx).long() for idx in self._train.pairs()]
        order = torch.randperm(self._train.nnz, generator=self._generator)
        return torch.split(order, self._config.optim.batch_size)

    def _batch(self, step: Tensor) -> Batch:
        shape = (self._config.model.negatives,)
        negatives = torch.randint(self._train.n_cols, shape, generator=self._generator)
        mine = self._part(step)
        return Batch(
            *(x.to(self._device) for x in (*(idx[mine] for idx in self._pairs), negatives))
        )


class HistoryBatches(EpochBatches):
    """Batches of users, each user with two items or more once, and each history split anew."""

    def _ordered(self) -> tuple[Tensor, ...]:
        users = torch.from_numpy(np.flatnonzero(self._train.lengths > 1))
        order = torch.randperm(len(users), generator=self._generator)
        return torch.split(users[order], self._config.optim.batch_users)

    def _batch(self, step: Tensor) -> HistoryBatch:
        # Drawn for all users of the step, so that it does not depend on the number of processes.
        histories = self._train.select(step.numpy())
        drawn = torch.rand(histories.nnz, generator=self._generator)
        lengths = torch.from_numpy(histories.lengths)
        row = torch.repeat_interleave(torch.arange(len(step)), lengths)
        starts = histories.indptr[:-1]
        least = torch.from_numpy(np.minimum.reduceat(drawn.numpy(), starts))[row]
        most = torch.from_numpy(np.maximum.reduceat(drawn.numpy(), starts))[row]
        # One item at least on each side.
        known = ((drawn > self._config.model.history_dropout) | (drawn == most)) & (drawn != least)
        mine = self._part(torch.arange(len(step)))
        number = torch.full((len(step),), -1).index_put((mine,), torch.arange(len(mine)))[row]
        item = torch.from_numpy(histories.indices).long()

        def side(chosen: Tensor) -> tuple[Tensor, Tensor]:
            chosen = chosen & (number >= 0)
            return number[chosen].to(self._device), item[chosen].to(self._device)

        return HistoryBatch(step[mine].to(self._device), side(known), side(~known))


def epoch_batches(
    train: Csr,
    config: FitConfig,
    generator: torch.Generator,
    part: Part,
    device: torch.device,
) -> EpochBatches:
    """The batches that the configured ranking loss needs; arguments as of `EpochBatches`."""
    whole = config.model.ranking == "multinomial"
    return (HistoryBatches if whole else InteractionBatches)(train, config, generator, part, device)
