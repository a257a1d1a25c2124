"""State in a SQLite file, for all workers of a machine.

Reads take 3 to 14 µs and run on the event loop; in WAL mode, writes do not block them. Writes run
in a thread, which groups waiting ones into one transaction and syncs it to disk before it reports
success.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Self, TypeVar

from bundle.events.keys import ONCE_SECONDS, once_digest
from bundle.events.outcomes import Impression, Outcome, Retention
from bundle.events.records import RECENT, Change, Event
from service.observability.background import BackgroundLoop
from service.observability.metrics import Metrics
from service.state.base import NOTHING, Changes, NewChange, NewEvent, StateError, UserState
from service.state.sqlite_file import connect, identities, open_file
from service.state.sqlite_outcomes import TABLES, add_impressions, add_outcomes

T = TypeVar("T")
_Batch = list[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]]
CLEANUP_SECONDS = 10.0
"""Interval at which expired rows are deleted and the write-ahead log is emptied, in seconds."""
CHECKPOINT_SECONDS = 0.1
"""Maximum time to wait for readers before the write-ahead log is emptied, in seconds, because
writes wait meanwhile; the next round tries again."""
READ_SECONDS = 1.0
"""Maximum time that a read waits for another process's lock, in seconds. In WAL mode that happens
only while a log that another process left behind is recovered."""
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""Result codes of damage, without the bits that say more."""

# One statement takes half the time of two. A row without an item means that the user was erased.
_USER = f"""
SELECT NULL, name, 0, 0, NULL FROM notes WHERE kind = 'user' AND name = ?1
UNION ALL SELECT * FROM (
    SELECT item_id, type, timestamp, weight, arm FROM events WHERE user_id = ?1
    ORDER BY number DESC LIMIT {RECENT})"""
_ERASE = (
    "DELETE FROM events WHERE user_id = ?",
    "DELETE FROM pages WHERE token IN (SELECT token FROM pages_of_users WHERE user_id = ?)",
    "DELETE FROM pages_of_users WHERE user_id = ?",
    *(f"DELETE FROM {table} WHERE user_id = ?" for table in TABLES),
)
# Numbers are µs since 1970, or the previous one plus 1, so they continue after a file was lost.
_NEXT_CHANGE = """
INSERT INTO notes (kind, name, number, body)
VALUES (?, ?, (SELECT max(coalesce(max(number), 0) + 1, strftime('%s') * 1000000) FROM notes), ?)
ON CONFLICT (kind, name) DO UPDATE SET number = excluded.number, body = excluded.body"""


class LocalState:
    """A `State` in a file; `async with` it.

    Args:
        path: path of the file, which is created if it does not exist.
        metrics: watch the clean-up.
        timeout: maximum time of a write, in seconds.

    Raises:
        StateError: the file cannot be opened, or is not such a database.
    """

    def __init__(self, path: Path, metrics: Metrics, timeout: float) -> None:
        self.degraded = False
        self.refuses_writes = False
        self._damaged = False
        """True once a read found damage, which does not mend itself."""
        self._path = path
        self._metrics = metrics
        self._cleaning: BackgroundLoop | None = None
        self._timeout = timeout
        self._thread = ThreadPoolExecutor(1, "state")
        self._waiting: _Batch = []
        self._writing: asyncio.Task[None] | None = None
        try:
            self._writer = open_file(path)
            self._writer.execute(f"PRAGMA busy_timeout = {timeout * 1000:.0f}")
            self._reader = connect(path, READ_SECONDS)
            self._cleaner = connect(path, CHECKPOINT_SECONDS)
            self._files = identities(path)
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{path}: cannot be used as the state ({error})") from error

    async def __aenter__(self) -> Self:
        """Start to clean up; the file is open."""
        self._cleaning = BackgroundLoop(
            "state_cleanup", self._clean_up, self._metrics, CLEANUP_SECONDS
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish writes and close the file."""
        if self._cleaning is not None:
            await self._cleaning.close()
        if self._writing is not None:
            await self._writing
        self.close()

    def close(self) -> None:
        """Close the file; no write may be in progress."""
        self._thread.shutdown()
        self._reader.close()
        self._writer.close()
        self._cleaner.close()

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
            for statement in _ERASE:
                connection.execute(statement, (user_id,))
            connection.execute(_NEXT_CHANGE, ("user", user_id, b"{}"))

        await self._write(erase)

    async def add_changes(self, changes: Sequence[NewChange]) -> None:
        """See `State`."""

        def add(connection: sqlite3.Connection) -> None:
            for change in changes:
                connection.execute(_NEXT_CHANGE, (change.kind, change.name, change.body))

        await self._write(add)

    async def changes(self, after: int) -> Changes:
        """See `State`."""
        query = "SELECT kind, name, number, body FROM notes WHERE number > ? ORDER BY number"
        return Changes([Change(*row) for row in self._read(query, after)])

    async def keep_pages(self, user_id: str, token: str, body: bytes, ttl: int) -> None:
        """See `State`."""

        def keep(connection: sqlite3.Connection) -> None:
            until = time() + ttl
            connection.execute("REPLACE INTO pages VALUES (?, ?, ?)", (token, body, until))
            connection.execute(
                "REPLACE INTO pages_of_users VALUES (?, ?, ?)", (user_id, token, until)
            )

        await self._write(keep)

    async def pages(self, token: str) -> bytes | None:
        """See `State`."""
        query = "SELECT body FROM pages WHERE token = ? AND expires >= ?"
        rows = self._read(query, token, time())
        return rows[0][0] if rows else None

    async def add_impressions(
        self, impressions: Sequence[Impression], retention: Retention
    ) -> None:
        """See `State`."""
        await self._write(partial(add_impressions, impressions=impressions, retention=retention))

    async def add_outcomes(self, events: Sequence[Event], retention: Retention) -> list[Outcome]:
        """See `State`."""
        return await self._write(partial(add_outcomes, events=events, retention=retention))

    def _read(self, query: str, *values: object) -> list[Any]:
        try:
            if not self._reader.in_transaction:
                self._reader.execute("BEGIN")
                asyncio.get_running_loop().call_soon(self._end_reading)
            rows = self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            self._damaged |= getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE
            self.degraded = True
            raise StateError(f"{self._path}: {error}") from error
        self.degraded = self._damaged
        return rows

    def _end_reading(self) -> None:
        """End the read transaction before the event loop handles any later request.

        So a request sees all writes from before its arrival, and requests handled at the same
        moment share a transaction, which takes as long as a read.
        """
        with suppress(sqlite3.Error):  # the next read reports the error; the file may be closed
            self._reader.execute("COMMIT")

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        try:
            async with asyncio.timeout(self._timeout):
                # Shielded: cancelling a request must not cancel a write that has started.
                return await asyncio.shield(answer)
        except TimeoutError:
            self.refuses_writes = True
            reason = f"{self._path}: a write takes longer than {self._timeout:g} s"
            raise StateError(reason) from None

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._commit(batch)
        self._writing = None

    async def _commit(self, batch: _Batch) -> None:
        works = [work for work, _ in batch]
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._transaction, works)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, sqlite3.OperationalError):
                # One of them cannot be written, which is not the others' fault.
                for one in batch:
                    await self._commit([one])
                return
            self.refuses_writes = isinstance(error, sqlite3.Error)
            failure = StateError(f"{self._path}: {error!r}")
            for _, answer in batch:
                answer.set_exception(failure)
                answer.exception()  # its request may be cancelled
            return
        self.refuses_writes = False
        for (_, answer), result in zip(batch, results, strict=True):
            answer.set_result(result)

    def _transaction(self, works: Sequence[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            results = [work(self._writer) for work in works]
            self._writer.execute("COMMIT")
            if identities(self._path) != self._files:
                raise sqlite3.OperationalError("the file was deleted or replaced; restart")
        except Exception:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return results

    async def _clean_up(self) -> None:
        await self._write(_delete_expired)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._empty_log)

    def _empty_log(self) -> None:
        """Empty the write-ahead log, in which deleted rows are readable until it is long enough."""
        self._cleaner.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _delete_expired(connection: sqlite3.Connection) -> None:
    now = time()
    for table in ("pages", "pages_of_users", *TABLES):
        connection.execute(f"DELETE FROM {table} WHERE expires < ?", (now,))


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
