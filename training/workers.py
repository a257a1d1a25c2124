"""Data-parallel fits: under `torchrun`, each process takes a part of every batch."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process is the one that writes and reports; a process alone is."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Workers:
    """This process among those that fit one model together.

    All of them draw the same numbers and make the same steps, so that their parameters stay equal.

    Attributes:
        rank: this one's number.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    @contextmanager
    def joined(cls, device: str) -> Iterator["Workers"]:
        """Meet the others that `torchrun` started, by gloo on the CPU and nccl on GPUs."""
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
        """`cpu`, or the GPU that belongs to this process."""
        if name == "cuda" and self.size > 1:
            return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        return torch.device(name)

    def part(self, step: Tensor) -> Tensor:
        """This process's rows of a step [B]; of fewer rows than processes everybody takes all."""
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

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, for all."""
        if self.size == 1:
            return make()
        made = [make() if self.rank == 0 else None]
        distributed.broadcast_object_list(made)
        return made[0]  # type: ignore[return-value]  # the first one put it there
