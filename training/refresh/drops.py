"""Files of interactions as a source of events, and which source a name means."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa

from bundle.errors import InputError
from bundle.events import Event, Note
from training.reading.columns import ids, numbers
from training.reading.file import TABLE_SUFFIXES, Source
from training.refresh.redis_client import RedisOptions
from training.refresh.sources import PAGE, EventSource, Page, Positions, RedisLog, SqliteLog

SQLITE_SUFFIXES = (".sqlite3", ".sqlite", ".db")
REDIS_SCHEMES = ("redis", "rediss", "unix")


class DropFiles:
    """Files of interactions: Parquet, CSV or JSON lines with `user_id` and `item_id`.

    Optional columns: `timestamp` (now, if there is none), `weight` (1) and `type` (view). Each file
    is taken in once, by its name and content; to add more, add a file, under a name that begins
    with a dot until it is whole.

    Args:
        path: a file, or a folder whose files are taken by name.
    """

    cleaned = False

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        self._path = path
        if not path.is_dir() and path.suffix not in TABLE_SUFFIXES:
            raise InputError(f"{path}: is none of {', '.join(SQLITE_SUFFIXES + TABLE_SUFFIXES)}")

    def read(self, after: Positions) -> Iterator[Page]:
        """See `EventSource`."""
        found = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]
        for path in found:
            if path.suffix not in TABLE_SUFFIXES or path.name[0] in "._":
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            place = f"file:{path.name}"
            known = after.get(place)
            if known == digest:
                continue
            if known is not None:
                raise InputError(f"{path}: was taken in before and has changed; add a new file")
            events = _dropped(Source(path))
            for start in range(0, len(events), PAGE):
                last = start + PAGE >= len(events)
                yield Page(events[start : start + PAGE], {place: digest} if last else {})

    def notes(self, after: int) -> list[Note]:
        """See `EventSource`."""
        del after
        return []

    def erased(self) -> dict[str, int]:
        """See `EventSource`."""
        return {}

    def trim(self, positions: Positions) -> None:
        """See `EventSource`; files belong to whoever dropped them."""
        del positions


def open_source(text: str, redis: RedisOptions) -> EventSource:
    """The source that an `--events` names.

    Raises:
        InputError: there is no such file, or it is of no known sort.
    """
    if urlsplit(text).scheme in REDIS_SCHEMES:
        return RedisLog(text, redis)
    path = Path(text)
    return SqliteLog(path) if path.suffix in SQLITE_SUFFIXES else DropFiles(path)


def _dropped(source: Source) -> list[Event]:
    header = source.header()
    for column in ("user_id", "item_id"):
        if column not in header:
            raise source.missing(column)
    types = {"user_id": pa.string(), "item_id": pa.string(), "type": pa.string()}
    types |= {"timestamp": pa.float64(), "weight": pa.float64()}
    table = source.read({name: kind for name, kind in types.items() if name in header}, only=True)
    count = table.num_rows
    moments = [time.time()] * count
    if "timestamp" in header:
        moments = numbers(source, table, "timestamp", 0).tolist()
    weights = numbers(source, table, "weight").tolist() if "weight" in header else [1.0] * count
    words = ids(source, table, "type").to_pylist() if "type" in header else ["view"] * count
    users, items = (ids(source, table, name).to_pylist() for name in ("user_id", "item_id"))
    return [Event(*row) for row in zip(users, items, words, moments, weights, strict=True)]
