"""Event source that reads table files, e.g. exports of another system."""

import hashlib
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.events.records import Change, Event
from bundle.events.weights import (
    DEFAULT_TYPE,
    EVENT_WEIGHTS,
    LARGEST_WEIGHT,
    TYPE,
    weight_of_type,
)
from training.data.readers.columns import ids, numbers
from training.data.readers.moments import moments
from training.data.readers.table_file import TABLE_SUFFIXES, TableFile
from training.refresh.event_source import PAGE, Page, Positions

NAMED = 5
"""Number of files that are not read and are named; the others are counted."""


class EventFiles:
    """Events in Parquet, CSV or JSON lines files with columns `user_id` and `item_id`.

    Optional columns are `timestamp`, `weight` and `type`; a value that is missing means what it
    means in `POST /events`: now, the weight of the type, and a view. Each file is read once and
    must not change afterwards; new events go into new files, whose name starts with a dot until
    they are complete. A file without rows is no mistake: a day without events.

    Args:
        path: a file, or a folder whose files are read in order of name.
        weights: weights by type of event.

    Raises:
        InputError: there is no such file or folder; `read` raises it for invalid files.
    """

    cleaned = False

    def __init__(self, path: Path, weights: Mapping[str, float] = EVENT_WEIGHTS) -> None:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        self._path = path
        self._weights = weights

    def read(self, after: Positions) -> Iterator[Page]:
        """See `EventSource`."""
        for path in self._paths():
            if not _is_table(path):
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            place = f"file:{path.name}"
            known = after.get(place)
            if known == digest:
                continue
            if known is not None:
                raise InputError(f"{path}: has changed since it was read; add a new file instead")
            events = _read_events(path, self._weights)
            for start in range(0, len(events), PAGE):
                last = start + PAGE >= len(events)
                yield Page(events[start : start + PAGE], {place: digest} if last else {})

    def notes(self) -> list[str]:
        """See `EventSource`."""
        others = [f"{p.name}/" if p.is_dir() else p.name for p in self._paths() if not _is_table(p)]
        if not others:
            return []
        named = ", ".join(others[:NAMED]) + (", …" if len(others) > NAMED else "")
        read = ", ".join(TABLE_SUFFIXES)
        return [f"{self._path}: not read, because only {read} are: {len(others):,} ({named})"]

    def check_kept(self) -> None:
        """See `EventSource`; files come when there are events."""

    def changes(self, after: int) -> list[Change]:
        """See `EventSource`."""
        del after
        return []

    def erased(self) -> dict[str, int]:
        """See `EventSource`."""
        return {}

    def trim(self, positions: Positions) -> None:
        """See `EventSource`; does nothing, because files are not deleted."""
        del positions

    def _paths(self) -> list[Path]:
        """The file, or what is in the folder and not hidden."""
        if not self._path.is_dir():
            return [self._path]
        return sorted(path for path in self._path.iterdir() if path.name[0] not in "._")


def _is_table(path: Path) -> bool:
    return path.suffix in TABLE_SUFFIXES and not path.is_dir()


def _read_events(path: Path, weights: Mapping[str, float]) -> list[Event]:
    if path.suffix != ".parquet" and _is_blank(path):
        return []
    source = TableFile(path)
    header = source.header()
    for column in ("user_id", "item_id"):
        if column not in header:
            raise source.missing(column)
    kinds = dict.fromkeys(("user_id", "item_id", "type", "timestamp"), pa.string())
    kinds["weight"] = pa.float64()
    wanted = {name: kind for name, kind in kinds.items() if name in header}
    table = source.read(wanted, only=True, may_be_empty=True)
    if not table.num_rows:
        return []
    users, items = (ids(source, table, name).to_pylist() for name in ("user_id", "item_id"))
    types = [kind or DEFAULT_TYPE for kind in _given(source, table, "type", _types)]
    now = time.time()
    moment = _given(source, table, "timestamp", _times)
    times = [now if at is None else at for at in moment]
    given = _given(source, table, "weight", _weights)
    strengths = [
        weight_of_type(kind, weights) if weight is None else weight
        for kind, weight in zip(types, given, strict=True)
    ]
    rows = zip(users, items, types, times, strengths, strict=True)
    events = [Event(*row) for row in rows]
    # Of a pair the newest counts, as in a fit.
    return events if None in moment else sorted(events, key=attrgetter("timestamp"))


def _given(
    source: TableFile,
    table: pa.Table,
    column: str,
    read: Callable[[TableFile, pa.Table, str], Sequence[Any]],
) -> list[Any]:
    """Values of an optional column, None in rows that have none."""
    found: list[Any] = [None] * table.num_rows
    if column in table.column_names:
        rows = np.flatnonzero(table[column].is_valid().to_numpy())
        if len(rows):
            values = read(_SomeRows(source.path, rows), table.take(pa.array(rows)), column)
            for row, value in zip(rows.tolist(), values, strict=True):
                found[row] = value
    return found


class _SomeRows(TableFile):
    """A table file of which some rows are validated; errors name the rows of the file."""

    def __init__(self, path: Path, rows: NDArray[np.int64]) -> None:
        super().__init__(path)
        self._rows = rows

    def error(self, what: str, row: int | None = None, column: str | None = None) -> InputError:
        return super().error(what, None if row is None else int(self._rows[row]), column)


def _types(source: TableFile, table: pa.Table, column: str) -> list[str]:
    found: list[str] = ids(source, table, column).to_pylist()
    if wrong := {kind for kind in set(found) if not TYPE.fullmatch(kind)}:
        row = next(row for row, kind in enumerate(found) if kind in wrong)
        what = f"{found[row]!r:.80} is no type: 1 to 64 of A-Z a-z 0-9 _ . -"
        raise source.error(what, row, column)
    return found


def _times(source: TableFile, table: pa.Table, column: str) -> list[float]:
    times: list[float] = moments(source, table, column).tolist()
    return times


def _weights(source: TableFile, table: pa.Table, column: str) -> list[float]:
    found = numbers(source, table, column, -LARGEST_WEIGHT)
    if (found > LARGEST_WEIGHT).any():
        row = int((found > LARGEST_WEIGHT).argmax())
        raise source.error(f"{found[row]:g} is above {LARGEST_WEIGHT:g}", row, column)
    weights: list[float] = found.tolist()
    return weights


def _is_blank(path: Path) -> bool:
    """True if a text file has no character but white space, as an export of no rows may be."""
    with path.open("rb") as file:
        return not any(line.removeprefix(BOM_UTF8).strip() for line in file)
