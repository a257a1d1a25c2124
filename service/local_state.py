"""State in one SQLite file, for all workers of a machine.

Reads take 3 to 14 µs and are done on the event loop; in WAL mode nobody who writes holds them up.
Writes go to a thread, which puts what has come together into one transaction; it is synced to disk
before anybody is told.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any, Self, TypeVar

from bundle.events import RECENT, SCHEMA, Event, Note, once_digest
from service.state import NOTHING, NewEvent, NewNote, Notes, StateError, UserState

T = TypeVar("T")
BUSY_SECONDS = 1.0
"""What a transaction waits for another process's."""
ONCE_SECONDS = 7 * 24 * 3600
"""How long an idempotency key is remembered."""

# One statement for both costs half of two. A row without an item says that the user was erased.
_USER = f"""
SELECT NULL, name, 0, 0, NULL FROM notes WHERE kind = 'user' AND name = ?1
UNION ALL SELECT * FROM (
    SELECT item_id, type, timestamp, weight, arm FROM events WHERE user_id = ?1
    ORDER BY number DESC LIMIT {RECENT})"""
# Numbers are µs since 1970, or one more than the one before: they go on where a file was lost.
_NEXT_NOTE = """
INSERT INTO notes (kind, name, number, body)
VALUES (?, ?, (SELECT max(coalesce(max(number), 0) + 1, strftime('%s') * 1000000) FROM notes), ?)
ON CONFLICT (kind, name) DO UPDATE SET number = excluded.number, body = excluded.body"""


class LocalState:
    """A `State` in a file; `async with` it.

    Args:
        path: of the file, which is made where it is not there.

    Raises:
        StateError: the file cannot be opened or is no such database.
    """

    def __init__(self, path: Path) -> None:
        self.degraded = False
        self._path = path
        self._thread = ThreadPoolExecutor(1, "state")
        self._waiting: list[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = []
        self._writing: asyncio.Task[None] | None = None
        try:
            self._reader = _connect(path)
            self._writer = _connect(path)
            # One statement at a time: `executescript` would end transactions of its own.
            for statement in filter(str.strip, SCHEMA.split(";")):
                self._writer.execute(statement)
        except sqlite3.Error as error:
            raise StateError(f"{path}: cannot be used as the state ({error})") from error

    async def __aenter__(self) -> Self:
        """Nothing is left to do."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish writing and close the file."""
        if self._writing is not None:
            await self._writing
        self.close()

    def close(self) -> None:
        """Close the file, when nothing is being written."""
        self._thread.shutdown()
        self._reader.close()
        self._writer.close()

    async def user(self, user_id: str) -> UserState:
        """See `State`."""
        rows = self._read(_USER, user_id)
        if not rows:
            return NOTHING
        erased = rows[0][0] is None
        events = rows[:0:-1] if erased else rows[::-1]
        return UserState(erased, [Event(user_id, *row) for row in events])

    async def add_events(self, events: Sequence[NewEvent]) -> list[bool]:
        """See `State`."""

        def add(connection: sqlite3.Connection) -> list[bool]:
            now = time()
            connection.execute("DELETE FROM once WHERE expires < ?", (now,))
            return [_add_event(connection, new, now) for new in events]

        return await self._write(add)

    async def erase_user(self, user_id: str) -> None:
        """See `State`."""

        def erase(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,))
            connection.execute(_NEXT_NOTE, ("user", user_id, b"{}"))

        await self._write(erase)

    async def add_notes(self, notes: Sequence[NewNote]) -> None:
        """See `State`."""

        def add(connection: sqlite3.Connection) -> None:
            for note in notes:
                connection.execute(_NEXT_NOTE, (note.kind, note.name, note.body))

        await self._write(add)

    async def notes(self, after: int) -> Notes:
        """See `State`."""
        query = "SELECT kind, name, number, body FROM notes WHERE number > ? ORDER BY number"
        return Notes([Note(*row) for row in self._read(query, after)])

    async def keep_pages(self, token: str, body: bytes, ttl: int) -> None:
        """See `State`."""

        def keep(connection: sqlite3.Connection) -> None:
            now = time()
            connection.execute("DELETE FROM pages WHERE expires < ?", (now,))
            connection.execute("REPLACE INTO pages VALUES (?, ?, ?)", (token, body, now + ttl))

        await self._write(keep)

    async def pages(self, token: str) -> bytes | None:
        """See `State`."""
        query = "SELECT body FROM pages WHERE token = ? AND expires >= ?"
        rows = self._read(query, token, time())
        return rows[0][0] if rows else None

    def _read(self, query: str, *values: object) -> list[Any]:
        try:
            if not self._reader.in_transaction:
                self._reader.execute("BEGIN")
                asyncio.get_running_loop().call_soon(self._end_reading)
            rows = self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self.degraded = True
            raise StateError(f"{self._path}: {error}") from error
        self.degraded = False
        return rows

    def _end_reading(self) -> None:
        """End what `_read` began, before the event loop gets to any request that has come since.

        So requests see everything that was written before they came, and those that are handled
        at the same moment share a transaction, which costs as much as a read.
        """
        with suppress(sqlite3.Error):  # the next read says what is wrong; the file may be closed
            self._reader.execute("COMMIT")

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        # What was begun is finished, whoever goes away meanwhile.
        return await asyncio.shield(answer)

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                results = await loop.run_in_executor(
                    self._thread, self._transaction, [work for work, _ in batch]
                )
            except Exception as error:
                known = isinstance(error, sqlite3.Error)
                failure = StateError(f"{self._path}: {error}") if known else error
                for _, answer in batch:
                    answer.set_exception(failure)
                    answer.exception()  # who asked may be gone
                continue
            for (_, answer), result in zip(batch, results, strict=True):
                answer.set_result(result)
        self._writing = None

    def _transaction(self, works: Sequence[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            results = [work(self._writer) for work in works]
            self._writer.execute("COMMIT")
        except Exception:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return results


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # who was erased is not in free pages either
    return connection


def _add_event(connection: sqlite3.Connection, new: NewEvent, now: float) -> bool:
    if new.key is not None:
        expires = now + ONCE_SECONDS
        seen = (once_digest(new.event.user_id, new.key), expires)
        cursor = connection.execute("INSERT OR IGNORE INTO once VALUES (?, ?)", seen)
        if not cursor.rowcount:
            return False
    event = new.event
    connection.execute(
        "INSERT INTO events (user_id, item_id, type, timestamp, weight, arm)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (event.user_id, event.item_id, event.type, event.timestamp, event.weight, event.arm),
    )
    return True
