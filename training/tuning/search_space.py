"""Search space of `tune`: the hyper-parameters that it varies, and their ranges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from bundle.errors import InputError
from training.fitting.config import FitConfig

Value = bool | int | float | str


@dataclass(frozen=True)
class FloatRange:
    """Real numbers from low to high; `log` samples uniformly in the logarithm."""

    low: float
    high: float
    log: bool = False

    def contains(self, value: Value) -> bool:
        """True if the value may be proposed."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        return FloatDistribution(self.low, self.high, log=self.log)

    def ends(self) -> tuple[Value, ...]:
        """Values that the configuration has to accept."""
        return self.low, self.high


@dataclass(frozen=True)
class IntRange:
    """Integers from low to high."""

    low: int
    high: int

    def contains(self, value: Value) -> bool:
        """True if the value may be proposed."""
        return isinstance(value, int) and self.low <= value <= self.high

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        return IntDistribution(self.low, self.high)

    def ends(self) -> tuple[Value, ...]:
        """Values that the configuration has to accept."""
        return self.low, self.high


@dataclass(frozen=True)
class Choice:
    """A finite set of values, e.g. weights including 0, which disables a loss term."""

    values: tuple[Value, ...]

    def contains(self, value: Value) -> bool:
        """True if the value may be proposed."""
        return value in self.values

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        return CategoricalDistribution(self.values)

    def ends(self) -> tuple[Value, ...]:
        """Values that the configuration has to accept."""
        return self.values


Range = FloatRange | IntRange | Choice

SEARCH_SPACE: Mapping[str, Range] = {
    "optim.learning_rate": FloatRange(5e-4, 1e-2, log=True),
    "model.temperature": FloatRange(0.1, 0.5, log=True),
    "model.negatives": Choice((512, 1024, 2048)),
    "model.behaviour_layers": IntRange(1, 3),
    "model.item_layers": IntRange(0, 3),
    "model.modal_weight": FloatRange(0.5, 3.0, log=True),
    "model.sss": Choice((0.0, 0.1, 0.3, 1.0)),
    "model.intra_alignment": Choice((0.0, 0.05, 0.1, 0.3)),
    "model.inter_alignment": Choice((0.0, 0.01, 0.03, 0.1)),
}
"""Ranges by configuration key; docs/guide/training.md lists the same keys."""


def with_values(config: FitConfig, values: Mapping[str, Value]) -> FitConfig:
    """A copy of a configuration with some values replaced.

    Args:
        config: the configuration.
        values: new values by key, e.g. `model.temperature`.

    Raises:
        InputError: the configuration has no such key, or rejects a value.
    """
    tree: dict[str, Any] = config.model_dump()
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        place = tree.get(section) if section else tree
        if not isinstance(place, dict) or name not in place:
            raise InputError(f"search space: the configuration has no key {key}")
        place[name] = value
    try:
        return FitConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"search space: {where}: {first['msg']}") from error


def value_of(config: FitConfig, key: str) -> Value:
    """Value of a key such as `model.temperature` in a configuration."""
    place: Any = config
    for part in key.split("."):
        place = getattr(place, part)
    assert isinstance(place, Value)
    return place


def check_space(space: Mapping[str, Range], config: FitConfig) -> None:
    """Check before the first fit that a configuration accepts all values of a search space.

    Raises:
        InputError: a key is unknown or a value is rejected; the message names the key.
    """
    for key, choices in space.items():
        for value in choices.ends():
            with_values(config, {key: value})
