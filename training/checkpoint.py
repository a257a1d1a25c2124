"""Where a fit stands, written after each epoch: a killed fit goes on as if nothing had happened.

Checkpoints are for resuming on the machine that wrote them; what is served is a bundle.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from bundle.errors import InputError


@dataclass
class Progress:
    """State of a fit after an epoch.

    Attributes:
        epoch: epochs done.
        best_epoch: the one with the best valid score, counted from 1; 0 before the first.
        best: its valid metrics.
        best_model: its parameters.
        history: for each epoch the mean of each loss term, the valid metrics and the seconds.
    """

    epoch: int = 0
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_model: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(
    path: Path,
    identity: str,
    progress: Progress,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Write everything that the next epoch depends on, atomically.

    Args:
        path: the file to replace.
        identity: says which configuration, data and seed this belongs to.
        progress, model, optimiser, generator: as they are after an epoch.
    """
    state = {
        "identity": identity,
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
    }
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(
    path: Path,
    identity: str,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Progress:
    """Put model, optimiser and generator back where they were.

    Raises:
        InputError: there is no such file, it is damaged, or it belongs to another configuration,
            data set or seed.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no checkpoint to resume from")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the zip or unpickling layer did
        raise InputError(f"{path}: cannot be read ({error})") from error
    if state["identity"] != identity:
        raise InputError(
            f"{path}: belongs to another configuration, data set or seed; "
            "use the same ones, or start without --resume"
        )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["generator"])
    return Progress(**state["progress"])
