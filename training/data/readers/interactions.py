"""Reader of interaction logs: separates likes from dislikes, removes repeated pairs and, if asked,
low weights.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.dataset import LIKED_ABOVE, TRAIN, Interactions
from training.data.readers.columns import encoded_ids, labels, numbers
from training.data.readers.moments import moments
from training.data.readers.table_file import TableFile


@dataclass(frozen=True)
class LogColumns:
    """Names of a log's columns, None for absent ones."""

    user: str
    item: str
    timestamp: str | None = None
    weight: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class InteractionLog:
    """Interactions with provisional numbers, in order of the ids' first occurrence.

    Attributes:
        source: the file, for error messages.
        columns: its columns.
        user_ids: users with at least one kept interaction.
        item_ids: all items of the file, including those whose interactions were all dropped.
        item_rows: [len(item_ids)] data row of each item's first occurrence.
        interactions: N likes in file order, numbered by the lists above.
        dislikes: pairs that are no likes, numbered likewise; None if there are none.
    """

    source: TableFile
    columns: LogColumns
    user_ids: pa.StringArray
    item_ids: pa.StringArray
    item_rows: NDArray[np.int64]
    interactions: Interactions
    dislikes: Interactions | None


def read_log(
    source: TableFile, columns: LogColumns, min_weight: float | None, notes: list[str]
) -> InteractionLog:
    """Read a log.

    Args:
        source: the file.
        columns: its columns.
        min_weight: drop likes with a lower weight; None keeps all.
        notes: gets a sentence about dropped interactions and unused columns.

    Raises:
        InputError: a value is invalid, no like is left, or `min_weight` is given but the log has no
            weights.
    """
    texts = [columns.user, columns.item, columns.timestamp, columns.label]
    types = {name: pa.string() for name in texts if name}
    if columns.weight:
        types[columns.weight] = pa.float64()
    unused = [name for name in source.header() if name not in types]
    if unused:
        notes.append(f"{source.name}: columns not used: {', '.join(unused)}")
    read = source.columns(types)
    item_ids, item_idx = encoded_ids(source, read(columns.item), columns.item)
    user_ids, user_idx = encoded_ids(source, read(columns.user), columns.user)
    weight = timestamp = label = None
    if columns.weight:
        weight = numbers(source, read(columns.weight), columns.weight)
    if columns.timestamp:
        timestamp = moments(source, read(columns.timestamp), columns.timestamp)
    if columns.label:
        label = labels(source, read(columns.label), columns.label)
        if not (label == TRAIN).any():
            raise source.error("no interaction is labelled train (0)", column=columns.label)

    item_rows = np.flatnonzero(np.diff(np.maximum.accumulate(item_idx), prepend=-1))
    kept = _kept(source, columns, weight, min_weight)
    single = None if weight is None else weight.astype(np.float32)
    log = Interactions(user_idx, item_idx, timestamp, single, label)
    if kept is not None:
        log = _rows(log, kept)
        with_any = pc.unique(pa.array(log.user_idx))
        user_ids = user_ids.take(with_any)
        log = replace(log, user_idx=pc.index_in(pa.array(log.user_idx), with_any).to_numpy())
        lost = len(kept) - len(log.user_idx)
        notes.append(f"interactions with a weight below {min_weight:g} dropped: {lost:,}")
    del item_idx, user_idx, weight, single, timestamp, label  # before arrays as large are made
    log, dislikes = _likes_and_dislikes(log, len(item_ids), notes)
    log = without_repeats(log, len(item_ids), notes)
    return InteractionLog(source, columns, user_ids, item_ids, item_rows, log, dislikes)


def _kept(
    source: TableFile,
    columns: LogColumns,
    weight: NDArray[np.float64] | None,
    min_weight: float | None,
) -> NDArray[np.bool_] | None:
    """Rows [N] that `min_weight` keeps, None if it keeps all.

    Raises:
        InputError: no like is left, or there are no weights to compare with.
    """
    if min_weight is None:
        if weight is not None and not (weight > LIKED_ABOVE).any():
            raise source.error("no weight is above 0", column=columns.weight)
        return None
    if weight is None:
        raise source.error(f"min_weight {min_weight:g} needs a column with weights or ratings")
    kept: NDArray[np.bool_] = (weight >= min_weight) | (weight <= LIKED_ABOVE)
    if not (weight[kept] > LIKED_ABOVE).any():
        raise source.error(
            f"all interactions are below min_weight {min_weight:g}", column=columns.weight
        )
    return None if kept.all() else kept


def _likes_and_dislikes(
    log: Interactions, n_items: int, notes: list[str]
) -> tuple[Interactions, Interactions | None]:
    """Likes in file order, and one row per disliked pair, the newest.

    The newest interaction of a pair, by time, then file order, says which of both it is, as among
    events. Only in train a dislike may be known: a label that says otherwise leaves it out.
    """
    if log.weight is None or (log.weight > LIKED_ABOVE).all():
        return log, None
    liked = log.weight > LIKED_ABOVE
    disliked = ~liked
    rows, starts = _repeated(log, n_items)
    lengths = np.diff(starts, append=len(rows))
    newest = rows[starts + lengths - 1]
    disliked[rows] = False
    disliked[newest] = log.weight[newest] <= LIKED_ABOVE
    liked[rows] &= np.repeat(log.weight[newest] > LIKED_ABOVE, lengths)
    notes.append(
        "pairs whose newest weight is 0 or below, not trained on but kept as dislikes:"
        f" {int(disliked.sum()):,}"
    )
    if log.label is not None:
        late = disliked & (log.label != TRAIN)
        if late.any():
            notes.append(f"dislikes that are not labelled train, left out: {int(late.sum()):,}")
        disliked &= ~late
    return _rows(log, liked), _rows(log, disliked) if disliked.any() else None


def _repeated(log: Interactions, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of pairs that occur several times, and the start of each pair among them.

    They are ordered by pair, then time, then as in the file.
    """
    pair = log.user_idx.astype(np.int64) * n_items + log.item_idx
    order = np.argsort(pair)
    ordered = pair[order]
    same = ordered[1:] == ordered[:-1]
    several = np.zeros(len(order), np.bool_)
    several[1:] = same
    several[:-1] |= same
    rows = np.sort(order[several])
    keys = (pair[rows],) if log.timestamp is None else (log.timestamp[rows], pair[rows])
    rows = rows[np.lexsort(keys)]  # stable, so that file order decides between equal times
    return rows, np.flatnonzero(np.diff(pair[rows], prepend=-1))


def _rows(log: Interactions, rows: NDArray[np.bool_]) -> Interactions:
    return Interactions(
        log.user_idx[rows],
        log.item_idx[rows],
        None if log.timestamp is None else log.timestamp[rows],
        None if log.weight is None else log.weight[rows],
        None if log.label is None else log.label[rows],
    )


def without_repeats(log: Interactions, n_items: int, notes: list[str]) -> Interactions:
    """Keep one row per pair: the earliest by time, then file order, with the earliest label."""
    rows, starts = _repeated(log, n_items)
    if not len(rows):
        return log
    first = rows[starts]
    kept = np.ones(len(log.user_idx), np.bool_)
    kept[rows] = False
    kept[first] = True
    repeats = len(rows) - len(first)
    what = f"repeated interactions dropped, the earliest of each pair kept: {repeats:,}"
    label = log.label
    if label is not None:
        earliest = np.minimum.reduceat(label[rows], starts)
        latest = np.maximum.reduceat(label[rows], starts)
        if conflicts := int((latest != earliest).sum()):
            what += f"; pairs with several split labels, the earliest label kept: {conflicts:,}"
        label = label.copy()
        label[first] = earliest
    notes.append(what)
    return _rows(replace(log, label=label), kept)


def renumbered(
    log: Interactions, user_of: NDArray[np.int32], item_of: NDArray[np.int32]
) -> Interactions:
    """Interactions with final numbers; `user_of` and `item_of` map provisional to final."""
    return replace(log, user_idx=user_of[log.user_idx], item_idx=item_of[log.item_idx])


def coverage_notes(log: Interactions, n_users: int, n_items: int) -> list[str]:
    """Notes with counts about users and items without train interactions."""
    found = []
    if idle := n_items - int(_occurs(log.item_idx, n_items).sum()):
        found.append(f"items without interactions: {idle:,} of {n_items:,}")
    if log.label is not None:
        train = log.label == TRAIN
        users, items = (
            int((_occurs(idx[~train], n) & ~_occurs(idx[train], n)).sum())
            for idx, n in ((log.user_idx, n_users), (log.item_idx, n_items))
        )
        if users:
            found.append(f"users without train interactions: {users:,} of {n_users:,}")
        if items:
            found.append(f"items in valid or test interactions only: {items:,} of {n_items:,}")
    return found


def _occurs(idx: NDArray[np.int32], n: int) -> NDArray[np.bool_]:
    """Occurrence of each number below n, [n]."""
    occurs = np.zeros(n, np.bool_)
    occurs[idx] = True
    return occurs
