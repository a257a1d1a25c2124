"""Data-parallel training: each process of a group computes a part of every batch.

The group is one that runs already, such as those of Ray Train and Accelerate, or the one of
`torchrun`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from bundle.errors import InputError

if distributed.is_available():
    # Imported later, as by the first step of an optimiser, this module keeps the group as a default
    # argument: its threads would outlive it, and now and then abort the process at its end.
    import torch.distributed.nn.functional

T = TypeVar("T")

BACK_ENDS = {"cpu": "gloo", "cuda": "nccl"}
"""Back end of a process group by the type of device whose tensors it exchanges."""


def is_first() -> bool:
    """True if this process has rank 0, which alone writes files and reports.

    The rank is that of the process group, or the one that `torchrun` gives before there is a group.
    """
    if _has_group():
        return distributed.get_rank() == 0
    return (os.environ.get("RANK") or "0") == "0"


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _start_group(back_end: str) -> None:
    """Start the group of the processes that `torchrun` started.

    `torchrun` keeps one store over its restarts, in which a new process finds the address of one
    that has ended, and waits for it (https://github.com/pytorch/pytorch/issues/135712); so the keys
    of each restart have a prefix. Nodes count restarts separately: only one node has a count that
    all processes share.
    """
    # Both names are documented and not in the `__all__` of their module.
    store, rank, size = next(distributed.rendezvous("env://"))  # type: ignore[attr-defined]
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"restart {restarts}", store)  # type: ignore[attr-defined]
    distributed.init_process_group(back_end, store=store, rank=rank, world_size=size)


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that fit one model together.

    All draw the same random numbers and take the same steps, so that their parameters stay equal.

    Attributes:
        rank: number of this process.
        size: number of processes.
        device: the CPU, or this process's GPU.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    @contextmanager
    def joined(cls, device: str) -> Iterator["ProcessGroup"]:
        """The process group that runs already, else that of the processes that `torchrun` started.

        A group that runs already belongs to the caller and still runs at the end.

        Args:
            device: cpu or cuda.

        Raises:
            InputError: the back end of the group that runs already does not fit the device.
        """
        if _has_group():
            yield cls._present(device)
        elif int(os.environ.get("WORLD_SIZE") or 1) == 1:
            yield cls(0, 1, torch.device(device))
        else:
            _start_group(BACK_ENDS[device])
            try:
                yield cls._present(device)
            finally:
                distributed.destroy_process_group()

    @classmethod
    def _present(cls, device: str) -> "ProcessGroup":
        """The process group that runs; one of a single process never uses its back end.

        The GPU is the one with number LOCAL_RANK, or the process's current one without LOCAL_RANK,
        which not every launcher sets.
        """
        rank, size = distributed.get_rank(), distributed.get_world_size()
        if size == 1:
            return cls(rank, size, torch.device(device))
        config = distributed.get_backend_config()  # e.g. cpu:gloo,cuda:nccl
        if dict(pair.split(":") for pair in config.split(",")).get(device) != BACK_ENDS[device]:
            raise InputError(
                f"the process group has the back end {config}, and a fit on {device} needs "
                f"{BACK_ENDS[device]}: start the group with {BACK_ENDS[device]}, or choose another "
                "--device"
            )
        if device == "cpu":
            return cls(rank, size, torch.device(device))
        number = os.environ.get("LOCAL_RANK")
        gpu = torch.cuda.current_device() if number is None else int(number)
        return cls(rank, size, torch.device("cuda", gpu))

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
        distributed.broadcast_object_list(made, 0, device=self.device)
        return made[0]  # type: ignore[return-value]  # set by rank 0

    def count(self, holds: bool) -> int:
        """The number of processes in which something holds."""
        if self.size == 1:
            return int(holds)
        total = torch.tensor(int(holds), device=self.device)
        distributed.all_reduce(total)
        return int(total)
