"""Checkpoints: the state of a fit after an epoch, from which an interrupted fit resumes exactly.

They are meant for the machine that wrote them; the artifact to serve is a bundle.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bundle.errors import InputError, StoreError
from bundle.ids import IdMap
from training.fitting.averaging import ParameterAverage

_KINDS = {"users": "users", "items": "items", "embedding": "items"}
"""Kind of a parameter's rows by the last part of its name; the rows of `bias` are items as well."""


class Names(NamedTuple):
    """User and item ids of the rows of a model's embeddings."""

    users: list[str]
    items: list[str]


@dataclass
class Progress:
    """Progress of a fit.

    Attributes:
        epoch: number of completed epochs.
        best_epoch: epoch with the best valid score, from 1; 0 before the first epoch.
        best: valid metrics of the best epoch.
        best_model: parameters of the best epoch.
        history: per epoch the mean of each loss term, the valid metrics and the seconds.
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
    average: ParameterAverage,
    generator: torch.Generator,
    names: Names | None = None,
) -> None:
    """Write the complete training state atomically.

    Args:
        path: the file to replace.
        identity: hash of configuration, data and seed.
        progress, model, optimiser, average, generator: their state after an epoch.
        names: ids of users and items, which a warm start on other data needs.

    Raises:
        StoreError: it cannot be written, e.g. because the disk is full.
    """
    state = {
        "identity": identity,
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.state_dict(),
        "generator": generator.get_state(),
        "names": None if names is None else names._asdict(),
    }
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("wb") as file:  # PyTorch's own files hide the reason of a failure
            torch.save(state, file)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        reason = _system_error(error)
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: the checkpoint cannot be written ({reason})") from error


def _system_error(error: BaseException) -> str:
    """Reason of a failed write, in the system's words where PyTorch's error has it as context."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0]


def warm_start(path: Path, model: torch.nn.Module, names: Names) -> tuple[int, int]:
    """Warm start: copy the best parameters of another fit, rows by user and item id.

    Args:
        path: checkpoint of the other fit.
        model: receives the parameters; new rows and parameters of another shape keep their initial
            values.
        names: ids of the model's users and items.

    Returns:
        The number of parameters copied and the number of parameters of the model.

    Raises:
        InputError: there is no such file, it is damaged, or it stores no ids.
    """
    state = _read(path)
    if not state.get("names"):
        raise InputError(f"{path}: stores no user and item ids, which a warm start needs")
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
    average: ParameterAverage,
    generator: torch.Generator,
) -> Progress:
    """Restore model, optimiser, average and generator.

    Raises:
        InputError: there is no such file, it is damaged, or it belongs to another configuration,
            data set or seed.
    """
    state = _read(path)
    if state["identity"] != identity:
        raise InputError(
            f"{path}: belongs to another configuration, data set or seed; "
            "use the same ones, or fit without --resume"
        )
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    average.load_state_dict(state["average"])
    generator.set_state(state["generator"])
    return Progress(**state["progress"])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no checkpoint found")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the zip or unpickling layer did
        raise InputError(f"{path}: cannot be read ({error})") from error
    return state
