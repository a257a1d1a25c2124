"""Batches of an epoch: interactions with sampled negatives, or users with whole histories."""

import math
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
        return torch.split(users[order], users_per_step(self._train, self._config))

    def _batch(self, step: Tensor) -> HistoryBatch:
        # Drawn for all users of the step, so that it does not depend on the number of processes.
        lengths = torch.from_numpy(self._train.lengths)
        drawn = torch.rand(int(lengths[step].sum()), generator=self._generator)
        items = torch.randperm(self._train.n_cols, generator=self._generator)
        negatives = items[: self._config.model.negatives]
        mine = self._part(torch.arange(len(step)))
        here = torch.isin(torch.arange(len(step)), mine).repeat_interleave(lengths[step])
        return self._split(step[mine], drawn[here], negatives)

    def _split(self, user_idx: Tensor, drawn: Tensor, negatives: Tensor) -> HistoryBatch:
        """Histories in parts of equal size, or of one item more."""
        histories = self._train.select(user_idx.numpy())
        lengths = torch.from_numpy(histories.lengths)
        n_parts = lengths.clamp_max(self._config.model.history_parts)
        user = torch.arange(len(user_idx)).repeat_interleave(lengths)
        # The order within each history, as drawn; dealt out to its parts one after the other.
        shuffled = torch.from_numpy(np.lexsort((drawn.numpy(), user.numpy())))
        place = torch.arange(len(user)) - torch.from_numpy(histories.indptr[:-1])[user]
        part = (n_parts.cumsum(0) - n_parts)[user] + place % n_parts[user]
        by_part = torch.sort(part, stable=True)
        items = torch.from_numpy(histories.indices).long()[shuffled[by_part.indices]]
        user_of_part = torch.arange(len(user_idx)).repeat_interleave(n_parts)
        return HistoryBatch(
            *(
                x.to(self._device)
                for x in (user_idx, user_of_part, by_part.values, items, negatives)
            )
        )


def users_per_step(train: Csr, config: FitConfig) -> int:
    """Number of users in a step of `HistoryBatches`."""
    n_users = int((train.lengths > 1).sum())
    return max(config.optim.batch_users, math.ceil(n_users / config.optim.max_steps))


def epoch_batches(
    train: Csr,
    config: FitConfig,
    generator: torch.Generator,
    part: Part,
    device: torch.device,
    whole_histories: bool,
) -> EpochBatches:
    """Batches of users with whole histories or of interactions; arguments as of `EpochBatches`."""
    kind = HistoryBatches if whole_histories else InteractionBatches
    return kind(train, config, generator, part, device)
