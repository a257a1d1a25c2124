"""The log of who liked what, with repeated pairs and weak signals tidied away."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.dataset import TEST, TRAIN, VALID, Interactions
from training.reading.columns import encode, ids, labels, numbers
from training.reading.file import Source


@dataclass(frozen=True)
class Columns:
    """What the columns of a log are called, None where there is none."""

    user: str
    item: str
    timestamp: str | None = None
    weight: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Log:
    """Interactions under provisional numbers: ids in the order of their first occurrence.

    Attributes:
        source: the file, for messages.
        columns: its columns.
        user_ids: users that have an interaction.
        item_ids: all items of the file, also those whose every interaction was dropped.
        item_rows: [len(item_ids)] data row of the first occurrence of each item.
        interactions: N interactions in file order, numbered by the lists above.
    """

    source: Source
    columns: Columns
    user_ids: list[str]
    item_ids: list[str]
    item_rows: NDArray[np.int64]
    interactions: Interactions


def read_log(source: Source, columns: Columns, min_weight: float | None, notes: list[str]) -> Log:
    """All interactions of at least `min_weight`, each pair once; adds what it dropped to `notes`.

    Raises:
        InputError: a value is wrong, nothing is left, or `min_weight` meets no weights.
    """
    texts = [columns.user, columns.item, columns.label]
    figures = [columns.timestamp, columns.weight]
    types = {name: pa.string() for name in texts if name}
    types |= {name: pa.float64() for name in figures if name}
    unused = [name for name in source.header() if name not in types]
    if unused:
        notes.append(f"{source.name}: columns not used: {', '.join(unused)}")
    table = source.read(types, only=True)

    item_ids, item_idx = encode(ids(source, table, columns.item))
    users = ids(source, table, columns.user)
    weight = numbers(source, table, columns.weight) if columns.weight else None
    timestamp = numbers(source, table, columns.timestamp, 0) if columns.timestamp else None
    label = labels(source, table, columns.label) if columns.label else None
    if label is not None and not (label == TRAIN).any():
        raise source.error("no interaction is labelled train (0)", column=columns.label)

    item_rows = np.unique(item_idx, return_index=True)[1].astype(np.int64)
    kept = np.ones(len(item_idx), np.bool_)
    if min_weight is not None:
        if weight is None:
            raise source.error(f"min_weight {min_weight:g} needs a column of weights or ratings")
        kept = weight >= min_weight
        if not kept.any():
            raise source.error(f"no interaction reaches {min_weight:g}", column=columns.weight)
    user_ids, user_idx = encode(users.filter(pa.array(kept)))
    every = Interactions(
        user_idx,
        item_idx[kept],
        None if timestamp is None else timestamp[kept],
        None if weight is None else weight[kept].astype(np.float32),
        None if label is None else label[kept],
    )
    if min_weight is not None and not kept.all():
        lost = len(kept) - int(kept.sum())
        notes.append(f"interactions of a weight below {min_weight:g} dropped: {lost:,}")
    interactions = without_repeats(every, len(item_ids), notes)
    return Log(source, columns, user_ids, item_ids, item_rows, interactions)


def without_repeats(log: Interactions, n_items: int, notes: list[str]) -> Interactions:
    """Each pair once: its earliest row (by time, then by file order) with its earliest label."""
    pair = log.user_idx.astype(np.int64) * n_items + log.item_idx
    keys = (pair,) if log.timestamp is None else (log.timestamp, pair)
    order = np.lexsort(keys)  # stable, so that file order decides between equal times
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    repeats = len(pair) - len(starts)
    if not repeats:
        return log
    first = order[starts]
    kept = np.sort(first)
    what = f"repeated interactions dropped, the earliest of each pair kept: {repeats:,}"
    label = log.label
    if label is not None:
        earliest = np.empty_like(label)
        earliest[first] = np.minimum.reduceat(label[order], starts)
        latest = np.maximum.reduceat(label[order], starts)
        if conflicts := int((latest != earliest[first]).sum()):
            what += f"; pairs with several split labels, the earliest of them kept: {conflicts:,}"
        label = earliest[kept]
    notes.append(what)
    return Interactions(
        log.user_idx[kept],
        log.item_idx[kept],
        None if log.timestamp is None else log.timestamp[kept],
        None if log.weight is None else log.weight[kept],
        label,
    )


def renumbered(log: Log, user_of: NDArray[np.int32], item_of: NDArray[np.int32]) -> Interactions:
    """The interactions under final numbers; `user_of` and `item_of` map the provisional ones."""
    return replace(
        log.interactions,
        user_idx=user_of[log.interactions.user_idx],
        item_idx=item_of[log.interactions.item_idx],
    )


def blind_spots(log: Interactions, n_users: int, n_items: int) -> list[str]:
    """Sentences, with counts, on users and items that training will not see."""
    found = []
    if idle := n_items - len(np.unique(log.item_idx)):
        found.append(f"items without interactions: {idle:,} of {n_items:,}")
    if log.label is not None:
        train = log.label == TRAIN
        late = np.isin(log.label, (VALID, TEST))
        users = np.setdiff1d(log.user_idx[late], log.user_idx[train])
        items = np.setdiff1d(log.item_idx[late], log.item_idx[train])
        if len(users):
            found.append(f"users without train interactions: {len(users):,} of {n_users:,}")
        if len(items):
            found.append(f"items in valid or test interactions only: {len(items):,} of {n_items:,}")
    return found
