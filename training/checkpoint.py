"""Where a fit stands, written after each epoch: a killed fit goes on as if nothing had happened.

Checkpoints are for resuming on the machine that wrote them; what is served is a bundle.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bundle.errors import InputError
from bundle.ids import IdMap

_KINDS = {"users": "users", "items": "items", "embedding": "items"}
"""What the rows of a parameter are, by the end of its name; those of `bias` are items, too."""


class Names(NamedTuple):
    """The ids behind the rows of a model's embeddings."""

    users: list[str]
    items: list[str]


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
    names: Names | None = None,
) -> None:
    """Write everything that the next epoch depends on, atomically.

    Args:
        path: the file to replace.
        identity: says which configuration, data and seed this belongs to.
        progress, model, optimiser, generator: as they are after an epoch.
        names: of users and items, for a warm start with others.
    """
    state = {
        "identity": identity,
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "names": None if names is None else names._asdict(),
    }
    temporary = path.with_suffix(".new")
    torch.save(state, temporary)
    temporary.replace(path)


def warm_start(path: Path, model: torch.nn.Module, names: Names) -> tuple[int, int]:
    """Begin where another fit was best: users and items that it knew, and every weight that fits.

    Args:
        path: the other fit's checkpoint.
        model: gets its parameters; what is new or of another shape stays as it was drawn.
        names: of its users and items.

    Returns:
        How many parameters were taken, and how many there are.

    Raises:
        InputError: there is no such file, it is damaged, or it does not say whom it knew.
    """
    state = _read(path)
    if not state.get("names"):
        raise InputError(f"{path}: does not say which users and items it knows")
    old = state["progress"]["best_model"]
    rows = {
        kind: IdMap(state["names"][kind], kind).rows(ids) for kind, ids in names._asdict().items()
    }
    parameters = dict(model.named_parameters())
    taken = 0
    with torch.no_grad():
        for name, parameter in parameters.items():
            before = old.get(name)
            if before is None or before.shape[1:] != parameter.shape[1:]:
                continue
            of = "items" if name == "bias" else _KINDS.get(name.rpartition(".")[2])
            if of is not None:
                known = np.flatnonzero(rows[of] >= 0)
                source = torch.from_numpy(rows[of][known]).long()
                parameter[torch.from_numpy(known)] = before[source].to(parameter)
            elif before.shape == parameter.shape:
                parameter.copy_(before)
            else:
                continue
            taken += 1
    return taken, len(parameters)


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
    state = _read(path)
    if state["identity"] != identity:
        raise InputError(
            f"{path}: belongs to another configuration, data set or seed; "
            "use the same ones, or start without --resume"
        )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["generator"])
    return Progress(**state["progress"])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: there is no checkpoint to resume from")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the zip or unpickling layer did
        raise InputError(f"{path}: cannot be read ({error})") from error
    return state
