"""The event source that a value of `--events` names."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bundle.errors import InputError
from bundle.events.redis_url import REDIS_SCHEMES
from bundle.events.weights import EVENT_WEIGHTS
from training.data.readers.table_file import TABLE_SUFFIXES
from training.refresh.event_source import EventSource
from training.refresh.file_source import EventFiles
from training.refresh.redis_client import RedisOptions
from training.refresh.service_logs import RedisLog, SqliteLog

SQLITE_SUFFIXES = (".sqlite3", ".sqlite", ".db")


def open_source(
    text: str, redis: RedisOptions, weights: Mapping[str, float] = EVENT_WEIGHTS
) -> EventSource:
    """Open the service's log, or files of events.

    Args:
        text: URL of a Redis, or path of a SQLite file, a table of events or a folder of tables.
        redis: how the service uses that Redis.
        weights: weights by type of event, for files.

    Raises:
        InputError: there is no such file or folder, or its type is unknown.
        SourceError: the Redis cluster cannot be reached.
    """
    if urlsplit(text).scheme in REDIS_SCHEMES:
        return RedisLog(text, redis)
    path = Path(text)
    if path.suffix in SQLITE_SUFFIXES:
        return SqliteLog(path)
    if path.is_file() and path.suffix not in TABLE_SUFFIXES:
        known = ", ".join(SQLITE_SUFFIXES + TABLE_SUFFIXES)
        raise InputError(f"{path}: unknown type of file (expected {known})")
    return EventFiles(path, weights)
