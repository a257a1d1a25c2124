"""Where events come from: the service's log in Redis or SQLite (`drops` has files of events).

Each source says after every page of events how far it was read, as text by place; reading goes on
after that. What is read and how it lies there stands in `bundle.events`.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import redis

from bundle.errors import InputError
from bundle.events import Event, Keys, Note, NoteKind
from training.refresh.errors import SourceError
from training.refresh.redis_client import RedisOptions, open_redis

PAGE = 10_000
"""Events that are read at a time."""
BUSY_SECONDS = 10.0
"""What a transaction waits for the service's."""

Positions = Mapping[str, str]


class Page(NamedTuple):
    """Some events and how far the source was read with them."""

    events: list[Event]
    positions: Positions


class EventSource(Protocol):
    """Something that events are read from.

    Attributes:
        cleaned: whether the events of a user who is erased are deleted in it.
    """

    cleaned: bool

    def read(self, after: Positions) -> Iterator[Page]:
        """What came after these positions, until now; events of a user in the order they came."""

    def notes(self, after: int) -> list[Note]:
        """The newest note of each name, of those with a number above `after`, in order."""

    def erased(self) -> dict[str, int]:
        """All users who were ever erased, with the number of the newest note that says so."""

    def trim(self, positions: Positions) -> None:
        """Forget the events up to these positions."""


class RedisLog:
    """The service's log in Redis.

    Args:
        url: of the Redis.
        options: how the service uses it.
    """

    cleaned = True

    def __init__(self, url: str, options: RedisOptions) -> None:
        self.client = open_redis(url, options)
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

    def notes(self, after: int) -> list[Note]:
        """See `EventSource`."""
        found: list[Note] = []
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
                    found.append(Note(_kind(kind), rest, int(number), body or b"{}"))
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
    """

    PLACE = "sqlite"
    cleaned = True

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise InputError(f"{path}: there is no such file")

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

    def notes(self, after: int) -> list[Note]:
        """See `EventSource`."""
        query = "SELECT kind, name, number, body FROM notes WHERE number > ? ORDER BY number"
        return [Note(*row) for row in self._rows(query, after)]

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
        # In pieces: the service waits for each.
        while len(self._rows(query, int(positions[self.PLACE]))) == PAGE:
            time.sleep(0.01)

    def _rows(self, query: str, value: int) -> list[Any]:
        try:
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
            try:
                with connection:
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


def _kind(text: str) -> NoteKind:
    if text not in ("item", "user"):
        raise SourceError(f"a note of an unknown kind, {text!r:.40}")
    return "item" if text == "item" else "user"
