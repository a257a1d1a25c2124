"""Averaged parameters: an exponential moving average over steps, which is what a fit returns.

Parameters of single steps are noisy in proportion to the learning rate; their average is not, so
that larger steps lose nothing at the end (Polyak and Juditsky 1992). `torch.optim.swa_utils` would
copy the whole model, with graphs and features, and renew the copy in every step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

RAMP = 10
"""Ramp of the average at the start: after t steps its memory is at most about t / (RAMP - 1) steps,
so that it leaves the initial parameters behind at once."""


class ParameterAverage:
    """Exponential moving average of a model's parameters.

    Args:
        model: the model; its present parameters are the first value.
        decay: share of the average that a step keeps; 0: the average is the last step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters: list[Tensor] = list(model.parameters()) if decay else []
        self._means = [parameter.detach().clone() for parameter in self._parameters]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters after a step into the average."""
        if not self._parameters:
            return
        decay = min(self._decay, (self._steps + 1) / (self._steps + RAMP))
        self._steps += 1
        torch._foreach_lerp_(self._means, self._parameters, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with averaged parameters; at the end it has its own ones again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for number, parameter in enumerate(self._parameters):
            # Exchanges the storages: nothing is copied, and the optimiser keeps its parameter.
            parameter.data, self._means[number] = self._means[number], parameter.data

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"steps": self._steps, "means": self._means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._steps = state["steps"]
        for mean, stored in zip(self._means, state["means"], strict=True):
            mean.copy_(stored)
