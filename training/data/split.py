"""Splits of interactions into train, valid and test."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bundle.csr import Csr
from bundle.errors import InputError
from training.data.dataset import TEST, TRAIN, VALID, Dataset, Interactions

By = Literal["label", "user_time", "global_time", "random"]

_FEW = (
    "users with fewer than three interactions are in train only; with timestamps,"
    " split.by=global_time splits all interactions"
)


class SplitConfig(BaseModel):
    """Rule and sizes of a split."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    by: By | Literal["auto"] = "auto"
    """Rule. label: labels in the data; user_time: the last interactions of each user; global_time:
    the last interactions overall; random: random interactions of each user; auto: the first of
    label, user_time and random that the data allow."""

    valid_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of interactions for early stopping and hyper-parameter search."""

    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of interactions for the final evaluation; 0 for none."""

    seed: int = Field(default=0, ge=0)
    """Seed of random splits; separate from the seed of a fit, so that fits share one split."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> "SplitConfig":
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction + test_fraction must be less than 1")
        return self


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of the interactions, users × items each.

    Attributes:
        train: for training.
        valid: for early stopping and hyper-parameter search.
        test: for evaluation; empty only if `test_fraction` is 0.
        how: description of the rule, for reports.
    """

    train: Csr
    valid: Csr
    test: Csr
    how: str


def make_split(dataset: Dataset, config: SplitConfig, rng: np.random.Generator) -> Split:
    """Split the interactions of a data set.

    In splits by user (`user_time`, `random`), a user with at least three interactions has at least
    one in each part, and a user with fewer has all in train. Interactions with equal timestamps are
    ordered as in the file in `user_time`, and stay in the same part in `global_time`. If labels
    define no valid part, it is taken from train by user.

    Args:
        dataset: the data.
        config: rule and sizes.
        rng: for `random`, and for the valid part if labels lack one and there are no timestamps.

    Raises:
        InputError: the data lack labels or timestamps for the rule, or a part would be empty.
    """
    log = dataset.interactions
    by = _resolved(config, log)
    match by:
        case "label":
            label, how = _by_label(log, config, rng)
        case "global_time":
            label = _by_global_time(_timestamps(log), config)
            how = f"the last {_sizes(config)} of all interactions"
        case "user_time":
            time = _timestamps(log)
            label = _by_user(log.user_idx, time, config.valid_fraction, config.test_fraction)
            how = f"the last {_sizes(config)} of each user's interactions"
        case "random":
            order = rng.permutation(len(log.user_idx))
            label = _by_user(log.user_idx, order, config.valid_fraction, config.test_fraction)
            how = f"random {_sizes(config)} of each user's interactions"
    counts = dict(zip(("train", "valid", "test"), np.bincount(label, minlength=3), strict=True))
    for part, count in counts.items():
        if not count and not (part == "test" and config.test_fraction == 0):
            by_user = by in ("user_time", "random") or (by == "label" and part == "valid")
            why = f" ({_FEW})" if by_user else ""
            raise InputError(f"split by {by}: the {part} part would be empty{why}")
    train, valid, test = (
        Csr.from_pairs(
            log.user_idx[label == part],
            log.item_idx[label == part],
            len(dataset.users),
            len(dataset.items),
        )
        for part in (TRAIN, VALID, TEST)
    )
    return Split(train, valid, test, f"{by}: {how}")


def _resolved(config: SplitConfig, log: Interactions) -> By:
    if config.by != "auto":
        return config.by
    if log.label is not None:
        return "label"
    return "random" if log.timestamp is None else "user_time"


def _sizes(config: SplitConfig) -> str:
    return f"{config.test_fraction:.3g} (test) and {config.valid_fraction:.3g} (valid)"


def _timestamps(log: Interactions) -> NDArray[np.float64]:
    if log.timestamp is None:
        raise InputError("a split by time needs timestamps, but the data have none")
    return log.timestamp


def _by_label(
    log: Interactions, config: SplitConfig, rng: np.random.Generator
) -> tuple[NDArray[np.int8], str]:
    """Labels [N] of the data, with a valid part taken from train if they define none."""
    if log.label is None:
        raise InputError("a split by label needs split labels, but the data have none")
    how = "the labels of the data"
    if (log.label == VALID).any():
        return log.label, how
    train = np.flatnonzero(log.label == TRAIN)
    label = log.label.copy()
    if log.timestamp is None:
        position: NDArray[np.generic] = rng.permutation(len(train))
        rule = "random"
    else:
        position = log.timestamp[train]
        rule = "the last"
    label[train] = _by_user(log.user_idx[train], position, config.valid_fraction, 0)
    return label, f"{how}, valid is {rule} {config.valid_fraction:.3g} of each user's train"


def _by_user(
    user_idx: NDArray[np.int32],
    position: NDArray[np.generic],
    valid_fraction: float,
    test_fraction: float,
) -> NDArray[np.int8]:
    """Labels [N]: per user the last interactions by position are test, those before valid."""
    order = np.argsort(position, kind="stable")  # file order decides between equals
    # By user, stable as well: the place in that order is a part of the sorted number.
    places = user_idx[order].astype(np.int64) << 32
    places |= np.arange(len(order))
    places.sort()
    places &= 2**32 - 1
    order = order[places]
    lengths = np.bincount(user_idx)
    tests = _share(lengths, test_fraction, lengths - 2)
    valids = _share(lengths, valid_fraction, lengths - tests - 1)
    parts = np.stack([lengths - valids - tests, valids, tests], axis=1).ravel()
    label = np.empty(len(order), np.int8)
    label[order] = np.repeat(np.tile(np.array([TRAIN, VALID, TEST], np.int8), len(lengths)), parts)
    return label


def _share(
    lengths: NDArray[np.int64], fraction: float, most: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Number of interactions per user [U] for one part: at least one of three, never all."""
    if not fraction:
        return np.zeros_like(lengths)
    wanted = np.floor(lengths * fraction + 1e-9).astype(np.int64)
    return np.where(lengths >= 3, np.minimum(np.maximum(wanted, 1), most), 0)


def _by_global_time(time: NDArray[np.float64], config: SplitConfig) -> NDArray[np.int8]:
    """Labels [N]; interactions at a cut belong to the later part."""
    ordered = np.sort(time)
    n = len(time)
    label = np.full(n, TRAIN, np.int8)
    later = config.valid_fraction + config.test_fraction
    label[time >= ordered[min(int(n * (1 - later) + 1e-9), n - 1)]] = VALID
    if config.test_fraction:
        label[time >= ordered[min(int(n * (1 - config.test_fraction) + 1e-9), n - 1)]] = TEST
    return label
