"""Data-parallel training: under `torchrun`, each process computes a part of every batch."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


def is_first() -> bool:
    """True if this process has rank 0, which alone writes files and reports."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that fit one model together.

    All draw the same random numbers and take the same steps, so that their parameters stay equal.

    Attributes:
        rank: number of this process.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    @contextmanager
    def joined(cls, device: str) -> Iterator["ProcessGroup"]:
        """Join the processes that `torchrun` started, by gloo on CPUs and nccl on GPUs."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            yield cls()
            return
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        try:
            yield cls(distributed.get_rank(), size)
        finally:
            distributed.destroy_process_group()

    def device(self, name: str) -> torch.device:
        """The CPU, or this process's GPU."""
        if name == "cuda" and self.size > 1:
            return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        return torch.device(name)

    def part(self, step: Tensor) -> Tensor:
        """This process's rows of a step [B]; all of them if there are fewer rows than processes."""
        return step[self.rank :: self.size] if len(step) >= self.size else step

    def average_gradients(self, model: nn.Module) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        means = torch.split(flat / self.size, [gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def share_buffers(self, model: nn.Module) -> None:
        """Replace what the model stores beside its parameters by what the first process has."""
        if self.size == 1:
            return
        parameters = dict(model.named_parameters())
        for name, value in model.state_dict().items():
            if name not in parameters:
                distributed.broadcast(value, 0)

    def from_first(self, make: Callable[[], T]) -> T:
        """Run `make` in the process of rank 0 and broadcast the result."""
        if self.size == 1:
            return make()
        made = [make() if self.rank == 0 else None]
        distributed.broadcast_object_list(made)
        return made[0]  # type: ignore[return-value]  # set by rank 0
