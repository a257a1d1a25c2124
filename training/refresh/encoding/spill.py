"""Out-of-core data by blocks of users: new events spilled to disk, and arrays written row by row.

Shapes: V users of the next bundle; a block is BLOCK_USERS consecutive users.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.format.reader import Bundle
from training.refresh.archive import Archive, ArchivePart
from training.refresh.items import NextItems

BLOCK_USERS = 16_384
"""Users per block; bounds the memory of a refresh."""
HELD_OUT = 20_000
"""Maximum number of newest events that are held out to evaluate a candidate."""
HELD_OUT_SHARE = 0.2
"""Maximum fraction of new events that are held out."""
EVENT = np.dtype([("user", "<i4"), ("item", "<i4"), ("weight", "<f4"), ("number", "<i8")])


@dataclass(frozen=True)
class Spill:
    """New events, sorted into files by blocks of users of the next bundle.

    Attributes:
        folder: one file per block with events: records of EVENT in the order of the archive.
        kept: ascending user_idx of the live bundle's kept users, the first users of the next one.
        new: ids of new users, which follow them.
        count: number of new events.
        unknown: number of new events whose item is not in the catalogue; they stay in the archive.
        held_out: ascending numbers of the held-out events, the newest ones with a positive weight.
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


def events_of_block(folder: Path, block: int) -> NDArray[Any]:
    """Events [n] of a block, by its number, in a spill's folder."""
    path = _path(folder, block)
    return np.fromfile(path, EVENT) if path.exists() else np.empty(0, EVENT)


def spill_events(
    bundle: Bundle,
    items: NextItems,
    archive: Archive,
    parts: list[ArchivePart],
    erased: Mapping[str, int],
    folder: Path,
) -> Spill:
    """Spill new events to disk, sorted by blocks of users.

    New events are those in parts after the manifest's `taken.events`, and older ones whose items
    first appear in the next bundle.

    Args:
        bundle: the live bundle.
        items: items of the next bundle.
        archive, parts: the archive and its parts to read.
        erased: number of the erasure of each user erased since the live bundle was built.
        folder: an empty folder.
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


class ArrayFile:
    """Writer of a `.npy` file that may be larger than memory; a context manager.

    Args:
        path: the file.
        dtype: type of the elements.
        width: number of columns; None for a one-dimensional array.
    """

    def __init__(self, path: Path, dtype: type[np.generic], width: int | None = None) -> None:
        self._dtype = np.dtype(dtype)
        self._tail = () if width is None else (width,)
        self._rows = 0
        self._file = path.open("wb")
        self._header()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # NumPy's header has room for a growing number of rows.
        self._file.seek(0)
        self._header()
        self._file.close()

    def add(self, rows: NDArray[Any]) -> None:
        """Append rows [n] or [n, width]."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._rows += len(rows)

    def _header(self) -> None:
        shape = (self._rows, *self._tail)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)


class _Newest:
    """Selection of the newest events with a positive weight, by their numbers."""

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
