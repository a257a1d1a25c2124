"""Train, valid and test: which interactions a model learns from and which measure it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bundle.csr import Csr
from bundle.errors import InputError
from training.dataset import TEST, TRAIN, VALID, Dataset, Interactions

By = Literal["label", "user_time", "global_time", "random"]


class SplitConfig(BaseModel):
    """How interactions are divided."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    by: By | Literal["auto"] = "auto"
    """`label` takes the labels of the data, `user_time` the last interactions of each user,
    `global_time` the last of all, `random` any of each user; `auto` is the first of label,
    user_time and random for which the data have what it takes."""

    valid_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Part of the interactions that decides when training stops and which settings are best."""

    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Part of the interactions that is only ever measured; 0 for none."""

    seed: int = Field(default=0, ge=0)
    """Of what is drawn. It belongs to the data: fits with different seeds share one split."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> "SplitConfig":
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction + test_fraction must be below 1")
        return self


@dataclass(frozen=True)
class Split:
    """Interactions in three parts, users × items each; no pair is in two of them.

    Attributes:
        train: what a model learns from.
        valid: what stops the training and chooses between settings.
        test: what the report measures; empty only if `test_fraction` is 0.
        how: the rule that was followed, for the report.
    """

    train: Csr
    valid: Csr
    test: Csr
    how: str


def make_split(dataset: Dataset, config: SplitConfig, rng: np.random.Generator) -> Split:
    """Divide the interactions of a data set.

    A user with at least three interactions gets at least one in each part when the split is by
    user (`user_time`, `random`); one with fewer keeps them for training. Equal times are taken in
    file order by user, and stay together in `global_time`. Labels without a valid part get one
    out of train, by the rule for users.

    Args:
        dataset: what to divide.
        config: the rule and the sizes.
        rng: decides in `random`, and where labels lack a valid part and there are no timestamps.

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
            raise InputError(f"split by {by}: no interaction is left for {part}")
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
        raise InputError("a split by time needs timestamps, and the data have none")
    return log.timestamp


def _by_label(
    log: Interactions, config: SplitConfig, rng: np.random.Generator
) -> tuple[NDArray[np.int8], str]:
    """The labels of the data [N], completed by a valid part if they have none."""
    if log.label is None:
        raise InputError("a split by label needs split labels, and the data have none")
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
    """Labels [N]: test is the end of each user's interactions by position, valid comes before."""
    order = np.lexsort((position, user_idx))  # stable: file order decides between equals
    lengths = np.bincount(user_idx)
    tests = _share(lengths, test_fraction, lengths - 2)
    valids = _share(lengths, valid_fraction, lengths - tests - 1)
    users = user_idx[order]
    from_end = np.cumsum(lengths)[users] - np.arange(len(users))  # 1 for the last of a user
    label = np.full(len(users), TRAIN, np.int8)
    label[order[from_end <= (tests + valids)[users]]] = VALID
    label[order[from_end <= tests[users]]] = TEST
    return label


def _share(
    lengths: NDArray[np.int64], fraction: float, most: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Entries of each user [U] for one part: at least one of three, and never all."""
    if not fraction:
        return np.zeros_like(lengths)
    wanted = np.floor(lengths * fraction + 1e-9).astype(np.int64)
    return np.where(lengths >= 3, np.minimum(np.maximum(wanted, 1), most), 0)


def _by_global_time(time: NDArray[np.float64], config: SplitConfig) -> NDArray[np.int8]:
    """Labels [N]; what is at a cut or after it belongs to the later part."""
    ordered = np.sort(time)
    n = len(time)
    label = np.full(n, TRAIN, np.int8)
    later = config.valid_fraction + config.test_fraction
    label[time >= ordered[min(int(n * (1 - later) + 1e-9), n - 1)]] = VALID
    if config.test_fraction:
        label[time >= ordered[min(int(n * (1 - config.test_fraction) + 1e-9), n - 1)]] = TEST
    return label
