"""The service's event log in Redis or SQLite; `bundle.events.records` defines its records."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from bundle.errors import InputError
from bundle.events.keys import Keys
from bundle.events.records import Change, ChangeKind, Event
from training.errors import SourceError
from training.refresh.event_source import PAGE, Page, Positions
from training.refresh.redis_client import RedisOptions, open_redis

BUSY_SECONDS = 10.0
"""Time-out for SQLite's write lock, in seconds; the service holds it for each batch of events."""


class RedisLog:
    """The service's log in Redis.

    Args:
        url: URL of the Redis.
        options: how the service uses it.

    Raises:
        InputError: the URL is invalid.
        SourceError: Redis cannot be reached or its data are invalid; also raised by the methods.
    """

    cleaned = True

    def __init__(self, url: str, options: RedisOptions) -> None:
        self.client = open_redis(url, options)
        self._namespace = options.namespace
        keys = Keys(options.namespace)
        self._logs, (_, _, self._order, self._bodies) = keys.logs, keys.notes

    def read(self, after: Positions) -> Iterator[Page]:
        """See `EventSource`."""
        try:
            for log in self._logs:
                newest = self.client.xrevrange(log, count=1)
                start = f"({after[log]}" if log in after else "-"
                entries = newest and self.client.xrange(log, start, newest[0][0], PAGE)
                while entries:
                    position = entries[-1][0].decode()
                    yield Page([_event(fields) for _, fields in entries], {log: position})
                    entries = self.client.xrange(log, f"({position}", newest[0][0], PAGE)
        except redis.RedisError as error:
            raise SourceError(f"Redis: {error}") from error

    def notes(self) -> list[str]:
        """See `EventSource`."""
        return []

    def check_kept(self) -> None:
        """See `EventSource`: a service writes no key before the first event or change."""
        try:
            if any(self.client.exists(key) for key in (*self._logs, self._order)):
                return
        except redis.RedisError as error:
            raise SourceError(f"Redis: {error}") from error
        raise SourceError(
            f"Redis: has no event and no change of a service in the namespace {self._namespace!r};"
            " nothing was refreshed (--redis-namespace must be the service's)"
        )

    def changes(self, after: int) -> list[Change]:
        """See `EventSource`."""
        found: list[Change] = []
        try:
            while True:
                page = self.client.zrangebyscore(
                    self._order, f"({after}", "+inf", 0, PAGE, withscores=True
                )
                if not page:
                    return found
                bodies = self.client.hmget(self._bodies, [name for name, _ in page])
                for (name, number), body in zip(page, bodies, strict=True):
                    kind, _, rest = name.decode().partition(":")
                    found.append(Change(_kind(kind), rest, int(number), body or b"{}"))
                after = found[-1].number
        except redis.RedisError as error:
            raise SourceError(f"Redis: {error}") from error

    def erased(self) -> dict[str, int]:
        """See `EventSource`."""
        try:
            names = self.client.zscan_iter(self._order, "user:*", PAGE)
            return {name.decode().partition(":")[2]: int(number) for name, number in names}
        except redis.RedisError as error:
            raise SourceError(f"Redis: {error}") from error

    def trim(self, positions: Positions) -> None:
        """See `EventSource`."""
        try:
            for log in self._logs:
                if log in positions:
                    milliseconds, _, number = positions[log].partition("-")
                    after = f"{milliseconds}-{int(number) + 1}"
                    self.client.xtrim(log, minid=after, approximate=False)
        except redis.RedisError as error:
            raise SourceError(f"Redis: {error}") from error


class SqliteLog:
    """The service's log in a SQLite file.

    Args:
        path: the file.

    Raises:
        InputError: there is no such file.
        SourceError: the file cannot be read or written; raised by the methods.
    """

    PLACE = "sqlite"
    cleaned = True

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise InputError(f"{path}: no such file")

    def read(self, after: Positions) -> Iterator[Page]:
        """See `EventSource`."""
        last = int(after.get(self.PLACE, 0))
        query = (
            "SELECT number, user_id, item_id, type, timestamp, weight, arm FROM events"
            f" WHERE number > ? ORDER BY number LIMIT {PAGE}"
        )
        while rows := self._rows(query, last):
            last = rows[-1][0]
            yield Page([Event(*row[1:]) for row in rows], {self.PLACE: str(last)})

    def notes(self) -> list[str]:
        """See `EventSource`."""
        return []

    def check_kept(self) -> None:
        """See `EventSource`; the file is there, and a service makes it when it starts."""

    def changes(self, after: int) -> list[Change]:
        """See `EventSource`."""
        query = "SELECT kind, name, number, body FROM notes WHERE number > ? ORDER BY number"
        return [Change(_kind(kind), *rest) for kind, *rest in self._rows(query, after)]

    def erased(self) -> dict[str, int]:
        """See `EventSource`."""
        query = "SELECT name, number FROM notes WHERE kind = 'user' AND number > ?"
        return dict(self._rows(query, 0))

    def trim(self, positions: Positions) -> None:
        """See `EventSource`."""
        if self.PLACE not in positions:
            return
        query = (
            "DELETE FROM events WHERE number IN"
            f" (SELECT number FROM events WHERE number <= ? LIMIT {PAGE}) RETURNING number"
        )
        # In batches, because the service waits for the lock during each.
        while len(self._rows(query, int(positions[self.PLACE]))) == PAGE:
            time.sleep(0.01)

    def _rows(self, query: str, value: int) -> list[Any]:
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
            try:
                with connection:
                    connection.execute("PRAGMA secure_delete = ON")  # as the service does
                    return connection.execute(query, (value,)).fetchall()
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise SourceError(f"{self._path}: {error}") from error


def _event(fields: Mapping[bytes, bytes]) -> Event:
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return Event(
            text["user_id"],
            text["item_id"],
            text["type"],
            float(text["timestamp"]),
            float(text["weight"]),
            text.get("arm"),
        )
    except (KeyError, ValueError) as error:
        raise SourceError(f"Redis: an event cannot be read ({error!r})") from error


def _kind(text: str) -> ChangeKind:
    if text not in ("item", "user"):
        raise SourceError(f"a change has an unknown kind, {text!r:.40}")
    return "item" if text == "item" else "user"
