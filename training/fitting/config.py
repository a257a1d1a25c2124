"""Configuration of a fit: hyper-parameters in one object, run options in another."""

import json
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bundle.errors import BundleError, InputError
from bundle.format.reader import Bundle
from models.config import Count, ModelConfig, Positive, Weight
from training.data.split import SplitConfig


class OptimConfig(BaseModel):
    """Hyper-parameters of the optimiser."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    learning_rate: Positive = 1e-3
    """Learning rate of Adam."""
    weight_decay: Weight = 0.0
    """λ: weight decay of Adam (L₂)."""
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Exponential moving average of the parameters: the share of it that a step keeps, e.g. 0.997.
    Evaluation on valid, best model and export then have the average; 0: none."""
    batch_size: Annotated[int, Field(ge=2)] = 2048
    """Interactions per step, of single interactions."""
    batch_users: Count = 512
    """Users per step, of whole histories."""
    max_steps: Count = 64
    """Maximum number of steps per epoch, of whole histories: of more users, more are in a step. As
    each step propagates over the whole graph, an epoch then costs in proportion to the data."""
    max_epochs: Count = 200
    """Maximum number of passes over the train interactions."""
    patience: Count = 10
    """Stop after this many epochs without a better valid recall@20."""
    valid_users: Count = 20_000
    """Maximum number of users that valid metrics are computed for after each epoch; of more, a
    sample is drawn once per fit with its seed. Of more than 13,000 items it shrinks, to 2,000 users
    of 134,000 items or more. It decides only when to stop: `evaluate` computes metrics for all
    users."""


class FitConfig(BaseModel):
    """Hyper-parameters of a fit; they, the data and the seed determine the model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: ModelConfig = ModelConfig()
    """The model."""
    optim: OptimConfig = OptimConfig()
    """The optimiser."""
    split: SplitConfig = SplitConfig()
    """The split into train, valid and test."""
    min_weight: float | None = None
    """Drop likes with a lower weight or rating; unset: keep all."""


class RunOptions(BaseModel):
    """Options of one run that are not hyper-parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of initial embeddings, order of interactions and negatives."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device that the model is fitted on."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads; 0: torch's default."""


class SimpleBaseline(StrEnum):
    """Name of a simple baseline in the options and results of `evaluate`."""

    POPULARITY = "popularity"
    ITEM_CF = "item_cf"
    EASE = "ease"
    IALS = "ials"
    LIGHTGCN = "lightgcn"


def load_config(file: Path | None, assignments: list[str]) -> FitConfig:
    """Resolve a configuration: defaults, then a file, then assignments.

    Args:
        file: TOML or JSON.
        assignments: `key=value`, e.g. `model.dim=32`.

    Raises:
        InputError: the file cannot be read, a key is unknown or a value is invalid; the message
            names it.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        tree = _read(file)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise InputError(f"--set {assignment}: expected key=value, e.g. model.dim=32")
        _assign(tree, key.strip(), _parse(value.strip()), assignment)
    try:
        return FitConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(f"configuration: {where}: {what}") from error


def config_toml(config: FitConfig) -> str:
    """A configuration as TOML for `load_config`; keys that are None are omitted."""
    tree = config.model_dump(mode="json", exclude_none=True)
    sections = {name: part for name, part in tree.items() if isinstance(part, dict)}
    top = {name: value for name, value in tree.items() if name not in sections}
    # Numbers, strings, booleans and lists of them are written alike in JSON and TOML.
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    for section, part in sections.items():
        lines += ["", f"[{section}]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in part.items()]
    return "\n".join(lines).lstrip() + "\n"


def stored_config(bundle: Bundle) -> FitConfig:
    """Hyper-parameters that a bundle was fitted with.

    Raises:
        BundleError: its `config.json` was not written by this version's trainer.
    """
    stored = {key: value for key, value in bundle.config.items() if key != "run"}
    try:
        return FitConfig.model_validate(stored)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BundleError(
            f"{bundle.version}: config.json: {where}: {error.errors()[0]['msg']}"
        ) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        tree = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{file}: is not valid {file.suffix[1:] or 'TOML'} ({error})") from error
    if not isinstance(tree, dict):
        raise InputError(f"{file}: expected an object with keys such as model and optim")
    return tree


def _parse(value: str) -> Any:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value  # an unquoted word, as in model.fusion=sum


def _assign(tree: dict[str, Any], key: str, value: Any, assignment: str) -> None:
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"--set {assignment}: {section} is not a section")
    tree[name] = value
