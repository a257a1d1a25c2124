"""The state's SQLite file: making it, opening it, and noticing that it is gone."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from bundle.events.keys import SCHEMA
from bundle.store.local import sync

START_SECONDS = 30.0
"""Maximum time to wait for another process's transaction at the start, in seconds."""


def open_file(path: Path) -> sqlite3.Connection:
    """A connection to the file with its tables, which is made if it does not exist.

    A file without tables is refused. Erased users and deleted items may have been in it.

    Raises:
        sqlite3.Error, OSError: the file cannot be opened, or is not such a database.
    """
    if not path.exists():
        _make(path)
    with closing(sqlite3.connect(path, START_SECONDS)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        if ("notes",) not in connection.execute(query).fetchall():
            raise sqlite3.DatabaseError("it is empty, or another program's")
    connection = connect(path, START_SECONDS)
    _add_tables(connection)
    return connection


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """A connection that waits for locks for `timeout` seconds; transactions are the caller's."""
    connection = sqlite3.connect(
        path, timeout=timeout, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # erased users are not in free pages either
    return connection


def identities(path: Path) -> list[tuple[int, int] | None]:
    """Device and inode of the database and of the files beside it, which are the same while in use.

    SQLite goes on writing to files that were deleted, or that others took the place of.
    """
    real = path.resolve()
    return [_identity(Path(f"{real}{suffix}")) for suffix in ("", "-wal", "-shm")]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make(path: Path) -> None:
    """Make the file with its tables, under another name first: a crash leaves none without them."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)  # of a process that was killed
    try:
        with closing(connect(new, START_SECONDS)) as connection:
            _add_tables(connection)
        with suppress(FileExistsError):  # another process was faster
            os.link(new, path)
            sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


def _add_tables(connection: sqlite3.Connection) -> None:
    # Not `executescript`, which ends the current transaction.
    for statement in filter(str.strip, SCHEMA.split(";")):
        connection.execute(statement)
