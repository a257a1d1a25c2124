"""New events by blocks of users, on disk: a block is looked at when its turn comes.

Shapes: V users of the next bundle; a block is BLOCK_USERS of their rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.loading import Bundle
from training.refresh.archive import Archive, ArchivePart
from training.refresh.items import NextItems

BLOCK_USERS = 16_384
HELD_OUT = 20_000
"""Newest events that judge a candidate, at most."""
HELD_OUT_SHARE = 0.2
"""Share of the new events that judge it, at most."""
EVENT = np.dtype([("user", "<i4"), ("item", "<i4"), ("weight", "<f4"), ("number", "<i8")])


@dataclass(frozen=True)
class Spill:
    """Events that are new to the live bundle, as rows of the next one.

    Attributes:
        folder: a file for each block that has events, records of EVENT in the order of the archive.
        kept: ascending user_idx of the live bundle whose rows stay; the first rows of the next one.
        new: ids of users who come after them.
        count: events taken in.
        unknown: of which items are unknown; they wait in the archive until somebody adds them.
        held_out: ascending numbers of the newest ones that count for an item.
    """

    folder: Path
    kept: NDArray[np.int64]
    new: list[str]
    count: int
    unknown: int
    held_out: NDArray[np.int64]

    @property
    def n_users(self) -> int:
        """V."""
        return len(self.kept) + len(self.new)

    def block(self, start: int) -> NDArray[Any]:
        """The events of the block that starts with this row."""
        path = _path(self.folder, start // BLOCK_USERS)
        return np.fromfile(path, EVENT) if path.exists() else np.empty(0, EVENT)


def spill_events(
    bundle: Bundle,
    items: NextItems,
    archive: Archive,
    parts: list[ArchivePart],
    erased: Mapping[str, int],
    folder: Path,
) -> Spill:
    """Sort the new events by blocks of users.

    New are those of the parts after `bundle.manifest.taken.events`, and older ones with items that
    come with the next bundle.

    Args:
        bundle: the live one.
        items: of the next one.
        archive, parts: where events are, and which of them are looked at.
        erased: number of the note of each user who was erased since the live bundle was made.
        folder: an empty one.
    """
    stays = np.ones(len(bundle.users), np.bool_)
    for user in erased:
        row = bundle.users.get(user)
        if row is not None:
            stays[row] = False
    kept = np.flatnonzero(stays)
    row_of = np.where(stays, np.cumsum(stays) - 1, -1)
    new: dict[str, int] = {}
    newest = _Newest(parts, bundle.manifest.taken.events)
    added = pa.array(sorted(items.new), pa.string())
    count = unknown = number = 0
    for part in parts:
        is_new = part.number > bundle.manifest.taken.events
        if not is_new and not len(added):
            continue
        for whole in archive.read(part, erased):
            mine = pc.is_in(whole["item_id"], value_set=added)
            batch = whole if is_new else whole.filter(mine)
            rows = items.ids.rows(batch["item_id"].to_pylist())
            known = rows >= 0
            events = np.empty(int(known.sum()), EVENT)
            users = batch["user_id"].filter(pa.array(known)).to_pylist()
            for place, user in enumerate(users):
                old = bundle.users.get(user)
                if old is not None and stays[old]:
                    events["user"][place] = row_of[old]
                else:
                    events["user"][place] = len(kept) + new.setdefault(user, len(new))
            events["item"] = rows[known]
            events["weight"] = batch["weight"].to_numpy()[known]
            events["number"] = number + np.flatnonzero(known)
            if is_new:
                newest.add(events, batch["timestamp"].to_numpy()[known])
                count += batch.num_rows
                unknown += int((~known).sum())
            number += batch.num_rows
            _append(folder, events)
    return Spill(folder, kept, list(new), count, unknown, newest.numbers())


class _Newest:
    """Keeps the numbers of the newest events."""

    def __init__(self, parts: list[ArchivePart], taken: int) -> None:
        rows = sum(part.rows for part in parts if part.number > taken)
        self._most = min(HELD_OUT, int(rows * HELD_OUT_SHARE))
        self._times = np.empty(0)
        self._numbers = np.empty(0, np.int64)

    def add(self, events: NDArray[Any], times: NDArray[np.float64]) -> None:
        liked = events["weight"] > 0
        self._times = np.concatenate([self._times, times[liked]])
        self._numbers = np.concatenate([self._numbers, events["number"][liked]])
        newest = np.lexsort((self._numbers, self._times))[len(self._times) - self._most :]
        self._times, self._numbers = self._times[newest], self._numbers[newest]

    def numbers(self) -> NDArray[np.int64]:
        return np.sort(self._numbers)


def _path(folder: Path, block: int) -> Path:
    return folder / f"events-{block:06d}"


def _append(folder: Path, events: NDArray[Any]) -> None:
    blocks = events["user"] // BLOCK_USERS
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    for rows in np.split(order, starts[1:]) if len(order) else []:
        with _path(folder, int(blocks[rows[0]])).open("ab") as file:
            events[rows].tofile(file)
