"""Which hyper-parameters `tune` varies, and between what."""

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
from training.config import FitConfig

Value = bool | int | float | str


@dataclass(frozen=True)
class Real:
    """Any number between low and high; `log` where it is the ratio that matters."""

    low: float
    high: float
    log: bool = False

    def contains(self, value: Value) -> bool:
        """Whether the value may be proposed."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        return FloatDistribution(self.low, self.high, log=self.log)

    def ends(self) -> tuple[Value, ...]:
        """Values that the configuration has to accept."""
        return self.low, self.high


@dataclass(frozen=True)
class Whole:
    """A whole number from low to high."""

    low: int
    high: int

    def contains(self, value: Value) -> bool:
        """Whether the value may be proposed."""
        return isinstance(value, int) and self.low <= value <= self.high

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        return IntDistribution(self.low, self.high)

    def ends(self) -> tuple[Value, ...]:
        """Values that the configuration has to accept."""
        return self.low, self.high


@dataclass(frozen=True)
class OneOf:
    """One of a few values, e.g. weights of which one is 0: without that term of the loss."""

    values: tuple[Value, ...]

    def contains(self, value: Value) -> bool:
        """Whether the value may be proposed."""
        return value in self.values

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        return CategoricalDistribution(self.values)

    def ends(self) -> tuple[Value, ...]:
        """Values that the configuration has to accept."""
        return self.values


Range = Real | Whole | OneOf

SEARCH_SPACE: Mapping[str, Range] = {
    "optim.learning_rate": Real(5e-4, 1e-2, log=True),
    "model.temperature": Real(0.1, 0.5, log=True),
    "model.negatives": OneOf((512, 1024, 2048)),
    "model.behaviour_layers": Whole(1, 3),
    "model.item_layers": Whole(0, 3),
    "model.modal_weight": Real(0.5, 3.0, log=True),
    "model.sss": OneOf((0.0, 0.1, 0.3, 1.0)),
    "model.intra_alignment": OneOf((0.0, 0.05, 0.1, 0.3)),
    "model.inter_alignment": OneOf((0.0, 0.01, 0.03, 0.1)),
}
"""By configuration key; docs/training.md names the same keys."""


def with_values(config: FitConfig, values: Mapping[str, Value]) -> FitConfig:
    """The configuration with some values replaced.

    Args:
        config: what stays as it is.
        values: by key, e.g. `model.temperature`.

    Raises:
        InputError: the configuration has no such key, or does not accept a value.
    """
    tree: dict[str, Any] = config.model_dump()
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        place = tree.get(section) if section else tree
        if not isinstance(place, dict) or name not in place:
            raise InputError(f"search space: the configuration has no {key}")
        place[name] = value
    try:
        return FitConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"search space: {where}: {first['msg']}") from error


def value_of(config: FitConfig, key: str) -> Value:
    """What a configuration has for a key such as `model.temperature`."""
    place: Any = config
    for part in key.split("."):
        place = getattr(place, part)
    assert isinstance(place, Value)
    return place


def check_space(space: Mapping[str, Range], config: FitConfig) -> None:
    """Refuse a space that the configuration does not have or accept, before anything is fitted.

    Raises:
        InputError: naming the key.
    """
    for key, choices in space.items():
        for value in choices.ends():
            with_values(config, {key: value})
