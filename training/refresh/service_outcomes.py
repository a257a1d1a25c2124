"""The service's exposures and outcomes in Redis or SQLite; `bundle.events.keys` says where."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
import redis

from bundle.errors import InputError
from bundle.events.keys import Keys
from training.errors import SourceError
from training.refresh.redis_client import RedisOptions, open_redis
from training.refresh.service_logs import BUSY_SECONDS

KEYS = 1000
"""Users per round trip to Redis; bounds the memory of a reply."""


class Count(NamedTuple):
    """Number of a user's impressions, or of the events of a type that followed them.

    Attributes:
        user_id: the user.
        arm: `<experiment>/<arm>`.
        type: of the events; None for impressions.
        number: how many.
    """

    user_id: str
    arm: str
    type: str | None
    number: int


class OutcomeSource(Protocol):
    """Outcomes of a service."""

    def counts(self, experiment: str, since: int, until: int) -> Iterator[Count]:
        """Counts of an experiment's users; several may have the same user, arm and type.

        Args:
            experiment: name of the experiment.
            since, until: first and last day of the impressions, in days since 1970.

        Raises:
            SourceError: the source cannot be read.
        """


class SqliteOutcomes:
    """Outcomes in a SQLite file.

    Args:
        path: the file.

    Raises:
        InputError: there is no such file.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self._path = path

    def counts(self, experiment: str, since: int, until: int) -> Iterator[Count]:
        """See `OutcomeSource`."""
        arms = f"{experiment}/"
        chosen = "substr(arm, 1, ?) = ? AND day BETWEEN ? AND ?"
        query = (
            f"SELECT user_id, arm, NULL, sum(number) FROM exposures WHERE {chosen}"
            " GROUP BY user_id, arm UNION ALL"
            f" SELECT user_id, arm, type, count(*) FROM outcomes WHERE {chosen}"
            " GROUP BY user_id, arm, type"
        )
        values = (len(arms), arms, since, until) * 2
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as connection:
                yield from (Count(*row) for row in connection.execute(query, values))
        except sqlite3.Error as error:
            if "no such table" in str(error):
                reason = "is not the state of a service of this version"
                raise SourceError(f"{self._path}: {reason} ({error})") from error
            raise SourceError(f"{self._path}: {error}") from error


class RedisOutcomes:
    """Outcomes in Redis.

    Args:
        url: URL of the Redis.
        options: how the service uses it.

    Raises:
        InputError: the URL is invalid.
        SourceError: the Redis cluster cannot be reached.
    """

    def __init__(self, url: str, options: RedisOptions) -> None:
        self._client: Any = open_redis(url, options)
        self._namespace = options.namespace

    def counts(self, experiment: str, since: int, until: int) -> Iterator[Count]:
        """See `OutcomeSource`."""
        arms = f"{experiment}/"
        start, _, _ = Keys(self._namespace).outcomes("").partition("{")
        # Keys of other kinds have ids of users, which may look like these up to the type.
        pattern = f"{start}{{events-*}}:outcomes:*"
        try:
            keys = self._client.scan_iter(pattern, KEYS, _type="hash")
            while page := [*islice(keys, KEYS)]:
                pipeline = self._client.pipeline(transaction=False)
                for key in page:
                    pipeline.hgetall(key)
                for key, fields in zip(page, pipeline.execute(), strict=True):
                    user_id = key.partition(b":outcomes:")[2].decode()
                    for field, number in fields.items():
                        day, arm, *outcome = orjson.loads(field)
                        if since <= day <= until and arm is not None and arm.startswith(arms):
                            yield Count(user_id, arm, outcome[0] if outcome else None, int(number))
        except redis.RedisError as error:
            raise SourceError(f"Redis: {error}") from error
        except (ValueError, TypeError) as error:
            raise SourceError(f"Redis: an outcome cannot be read ({error!r})") from error
