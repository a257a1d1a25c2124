"""Everything that a `fit` can be told: hyper-parameters in one object, run options in another."""

import json
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bundle.errors import BundleError, InputError
from bundle.loading import Bundle
from models.config import Count, ModelConfig, Positive, Weight
from training.split import SplitConfig


class OptimConfig(BaseModel):
    """How the model is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    learning_rate: Positive = 1e-3
    """Step size of Adam."""
    weight_decay: Weight = 0.0
    """λ of L₂, as Adam applies it."""
    batch_size: Annotated[int, Field(ge=2)] = 2048
    """Interactions in a step."""
    max_epochs: Count = 200
    """Passes over the train interactions, at most."""
    patience: Count = 10
    """Epochs without a better valid recall@20 after which the fit stops."""


class FitConfig(BaseModel):
    """Hyper-parameters of a fit; two fits with the same ones, data and seed make the same model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: ModelConfig = ModelConfig()
    """The model."""
    optim: OptimConfig = OptimConfig()
    """The optimiser."""
    split: SplitConfig = SplitConfig()
    """Train, valid and test."""
    min_weight: float | None = None
    """Interactions of a smaller weight or rating are left out; none are by default."""


class RunOptions(BaseModel):
    """What does not belong to the model: where and how often it is fitted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seed: Annotated[int, Field(ge=0)] = 0
    """Of the initial embeddings, the order of the interactions and the negatives."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the model is fitted."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads; 0 takes what torch finds."""


class Baseline(StrEnum):
    """A baseline's name, as the command line takes it and the results show it."""

    POPULARITY = "popularity"
    ITEM_CF = "item_cf"
    LIGHTGCN = "lightgcn"


def load_config(file: Path | None, assignments: list[str]) -> FitConfig:
    """Defaults, then a TOML or JSON file, then `key=value` assignments such as `model.dim=32`.

    Raises:
        InputError: the file cannot be read, a key is unknown or a value does not fit; the message
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
    """A configuration as the TOML that `load_config` reads; keys that are None are left out."""
    tree = config.model_dump(mode="json", exclude_none=True)
    sections = {name: part for name, part in tree.items() if isinstance(part, dict)}
    top = {name: value for name, value in tree.items() if name not in sections}
    # Numbers, strings, booleans and lists of them look the same in JSON and in TOML.
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    for section, part in sections.items():
        lines += ["", f"[{section}]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in part.items()]
    return "\n".join(lines).lstrip() + "\n"


def stored_config(bundle: Bundle) -> FitConfig:
    """The hyper-parameters that a bundle was fitted with.

    Raises:
        BundleError: its `config.json` is not from this trainer.
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
