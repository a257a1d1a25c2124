"""State in Redis, shared by all replicas.

Requests read a user's recent events through the `BatchedReader`, with one MGET for all that read at
the same moment. Writes go through a client of their own, as one script per user, so that an event
is in the log, among the user's recent events and remembered by its key, or in none of them. How
durable that is depends on Redis: `appendonly yes`, and `appendfsync always` if not even the last
second may be lost.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import time
from typing import Any, Self, TypeVar

from bundle.events.keys import ONCE_SECONDS, Keys, vector_key_prefix
from bundle.events.outcomes import IMPRESSIONS, Impression, Outcome, Retention, attribute
from bundle.events.records import RECENT, Change, Event
from service.observability.logs import LOGGER
from service.redis.batched_reader import BatchedReader
from service.redis.client import Client, Slots, close_client, drop_connections, open_client
from service.redis.errors import RedisCallError
from service.settings import Settings
from service.state.base import NOTHING, Changes, NewChange, NewEvent, StateError, UserState
from service.state.redis_outcomes import impression_scripts, outcome_field, unpack_impressions
from service.state.redis_scripts import (
    ADD_CHANGES,
    ADD_EVENT,
    ADD_IMPRESSIONS,
    ADD_OUTCOME,
    ERASE_RECENT,
    READ_CHANGES,
)

T = TypeVar("T")
ERASED = b"erased\n"
"""First line of the recent events of an erased user."""
LONGEST = 200 * RECENT
"""Growth of a user's recent events, in bytes, after which the oldest lines are removed."""
PAGE = 1000
"""Number of changes, or of entries of the log, per read."""
CONNECTIONS = 16
"""Maximum number of concurrent operations; others wait, within their timeout."""
FEW = 4
"""Maximum number of concurrent operations while Redis fails; others are refused at once."""


class RedisState:
    """A `State` in Redis; `async with` it.

    Args:
        redis: the connection that requests read by.
        settings: URL, namespace and timeouts.
    """

    def __init__(self, redis: BatchedReader, settings: Settings) -> None:
        self._redis = redis
        self._namespace = settings.redis_namespace
        self._keys = Keys(self._namespace)
        self._events_ttl = settings.events_ttl
        # A cluster client needs one more connection to ask for the slots.
        self._client: Client = open_client(settings, settings.state_timeout, CONNECTIONS + 1)
        self._slots = Slots(self._client)
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._timeout = settings.state_timeout
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failing = False

    @property
    def degraded(self) -> bool:
        """See `State`."""
        return self._redis.degraded

    @property
    def refuses_writes(self) -> bool:
        """See `State`."""
        return self._redis.refuses_writes

    async def __aenter__(self) -> Self:
        """Do nothing: the client connects when it is used."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish operations and close the connections."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._slots.close()
        await close_client(self._client)

    async def user(self, user_id: str) -> UserState:
        """See `State`."""
        try:
            lines = await self._redis.get(self._keys.user(user_id).encode())
        except RedisCallError as failure:
            raise StateError(f"Redis: {failure.kind}") from None
        if lines is None:
            return NOTHING
        try:
            assert isinstance(lines, bytes)
            erased = lines.startswith(ERASED)
            events = lines.removeprefix(ERASED).splitlines()[-RECENT:]
            return UserState(erased, [Event.of_line(user_id, line) for line in events])
        except (AssertionError, ValueError, TypeError):
            reason = "Redis: a user's events cannot be read"
            LOGGER.warning("user_events_unreadable", reason=reason)
            raise StateError(reason) from None

    async def add_events(self, events: Sequence[NewEvent]) -> list[bool]:
        """See `State`."""
        return await self._do(self._add_events(events))

    async def _add_events(self, events: Sequence[NewEvent]) -> list[bool]:
        pipeline: Any = self._client.pipeline(transaction=False)
        for new in events:
            event = new.event
            keys = [self._keys.log(event.user_id), self._keys.user(event.user_id)]
            if new.key is not None:
                keys.append(self._keys.once(event.user_id, new.key))
            fields = {
                "user_id": event.user_id,
                "item_id": event.item_id,
                "type": event.type,
                "timestamp": repr(event.timestamp),
                "weight": repr(event.weight),
                **({"arm": event.arm} if event.arm else {}),
            }
            flat = [part for field in fields.items() for part in field]
            limits = (LONGEST, RECENT, ERASED, self._events_ttl, ONCE_SECONDS)
            pipeline.eval(ADD_EVENT, len(keys), *keys, event.line(), *limits, *flat)
        replies = await self._in_time(pipeline.execute)
        await self._expect(len(replies) == len(events) and all(r in (0, 1) for r in replies))
        return [reply == 1 for reply in replies]

    async def erase_user(self, user_id: str) -> None:
        """See `State`."""
        await self._do(self._erase(user_id))

    async def _erase(self, user_id: str) -> None:
        erased = NewChange("user", user_id, b"{}")
        await self._add_changes([erased])
        log, mine = self._keys.log(user_id), user_id.encode()
        keys = (self._keys.user(user_id), self._keys.shown(user_id), self._keys.outcomes(user_id))
        newest = await self._eval(ERASE_RECENT, (log, *keys), ERASED)
        await self._expect(isinstance(newest, bytes))
        start: bytes | None = b"-" if newest else None
        while start is not None:
            entries = await self._in_time(self._client.xrange, log, start, newest, PAGE)
            ids = [entry for entry, fields in entries if fields.get(b"user_id") == mine]
            if ids:
                await self._in_time(self._client.xdel, log, *ids)
            start = b"(" + entries[-1][0] if len(entries) == PAGE else None
        await self._erase_derived(user_id)
        # A refresh may have read the log meanwhile; a second record makes it look again.
        await self._add_changes([erased])

    async def _erase_derived(self, user_id: str) -> None:
        """Delete the user's rankings, and the vectors of all bundle versions."""
        pages_of = self._keys.pages_of(user_id)
        tokens = await self._in_time(self._client.zrange, pages_of, 0, -1)
        versions = await self._in_time(self._client.zrange, self._keys.versions, 0, -1)
        pipeline: Any = self._client.pipeline(transaction=False)
        for token in tokens:
            pipeline.delete(self._keys.pages(token.decode()))
        pipeline.delete(pages_of)
        for version in versions:
            prefix = vector_key_prefix(self._namespace, version.decode())
            pipeline.delete(prefix + user_id.encode())
        await self._in_time(pipeline.execute)

    async def add_changes(self, changes: Sequence[NewChange]) -> None:
        """See `State`."""
        await self._do(self._add_changes(changes))

    async def _add_changes(self, changes: Sequence[NewChange]) -> None:
        flat: list[str | bytes] = []
        for change in changes:
            flat += (f"{change.kind}:{change.name}", change.body)
        await self._expect(await self._eval(ADD_CHANGES, self._keys.notes, *flat) == 1)

    async def changes(self, after: int) -> Changes:
        """See `State`."""
        return await self._do(self._read_changes(after))

    async def _read_changes(self, after: int) -> Changes:
        found: list[Change] = []
        lost = False
        while True:
            now_lost, rows = await self._eval(READ_CHANGES, self._keys.notes, after, PAGE)
            if now_lost:
                lost, found = True, []
            for name, number, body in rows:
                # No id of an item is like that; the overlay leaves it out and names it.
                kind, _, identifier = name.decode(errors="surrogateescape").partition(":")
                found.append(Change(kind, identifier, int(number), body))
            if len(rows) < PAGE:
                return Changes(found, lost)
            after = found[-1].number

    async def keep_pages(self, user_id: str, token: str, body: bytes, ttl: int) -> None:
        """See `State`."""
        await self._do(self._keep_pages(user_id, token, body, ttl))

    async def _keep_pages(self, user_id: str, token: str, body: bytes, ttl: int) -> None:
        pipeline: Any = self._client.pipeline(transaction=False)
        pages_of, now = self._keys.pages_of(user_id), time()
        pipeline.zremrangebyscore(pages_of, 0, now)
        pipeline.zadd(pages_of, {token: now + ttl})
        pipeline.expire(pages_of, ttl)
        pipeline.set(self._keys.pages(token), body, ttl)
        replies = await self._in_time(pipeline.execute)
        await self._expect(replies[-1] is True)

    async def pages(self, token: str) -> bytes | None:
        """See `State`."""
        try:
            found = await self._redis.get(self._keys.pages(token).encode())
        except RedisCallError as failure:
            raise StateError(f"Redis: {failure.kind}") from None
        return found if isinstance(found, bytes) else None

    async def add_impressions(
        self, impressions: Sequence[Impression], retention: Retention
    ) -> None:
        """See `State`."""
        await self._do(self._add_impressions(impressions, retention))

    async def _add_impressions(
        self, impressions: Sequence[Impression], retention: Retention
    ) -> None:
        pipeline: Any = self._client.pipeline(transaction=False)
        counts = []
        for keys, values in impression_scripts(self._keys, impressions, retention):
            pipeline.eval(ADD_IMPRESSIONS, len(keys), *keys, ERASED, *values)
            counts.append(len(keys) // 3)
        await self._expect(await self._in_time(pipeline.execute) == counts)

    async def add_outcomes(self, events: Sequence[Event], retention: Retention) -> list[Outcome]:
        """See `State`."""
        return await self._do(self._add_outcomes(events, retention))

    async def _add_outcomes(self, events: Sequence[Event], retention: Retention) -> list[Outcome]:
        pipeline: Any = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.lrange(self._keys.shown(event.user_id), 0, IMPRESSIONS - 1)
        lists = await self._in_time(pipeline.execute)
        await self._expect(len(lists) == len(events) and all(isinstance(x, list) for x in lists))
        found = (
            attribute(event, unpack_impressions(event.user_id, packed), retention.window)
            for event, packed in zip(events, lists, strict=True)
        )
        outcomes = [outcome for outcome in found if outcome is not None]
        pipeline = self._client.pipeline(transaction=False)
        for outcome in outcomes:
            user = outcome.event.user_id
            keys = (self._keys.user(user), self._keys.outcomes(user))
            field = outcome_field(outcome)
            pipeline.eval(ADD_OUTCOME, len(keys), *keys, ERASED, field, retention.results)
        replies = await self._in_time(pipeline.execute) if outcomes else []
        await self._expect(len(replies) == len(outcomes) and all(r in (0, 1) for r in replies))
        return [one for one, is_new in zip(outcomes, replies, strict=True) if is_new]

    async def _eval(self, script: str, keys: Sequence[str], *values: object) -> Any:
        return await self._in_time(self._client.eval, script, len(keys), *keys, *values)

    async def _expect(self, is_expected: bool) -> None:
        """Refuse a reply that the script does not give, e.g. of a proxy, or to another command."""
        if not is_expected:
            await drop_connections(self._client)  # they may have more of them
            raise RedisCallError("reply")

    async def _in_time(self, call: Callable[..., Any], *arguments: object) -> Any:
        async def when_there_is_room() -> Any:
            async with self._room:
                # A cluster client that does not know the slots sends scripts to any node.
                await self._client.initialize()
                return await call(*arguments)

        return await asyncio.wait_for(when_there_is_room(), self._timeout)

    async def _do(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation to its end, even if its request is cancelled: no reply stays unread.

        While Redis fails, only a few run at a time: many that wait for their timeout would fill the
        concurrency limit, and requests that need no Redis would be refused.
        """
        if len(self._tasks) >= FEW and (self._failing or self.degraded):
            operation.close()
            raise StateError("Redis: fails at the moment")
        task = asyncio.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            result = await asyncio.shield(task)
        # Parsers raise errors of many kinds if the peer is not Redis. Their texts repeat keys.
        except Exception as error:
            if not self._failing:
                LOGGER.warning("redis_state_failed", error=type(error).__name__)
            self._failing = True
            self._slots.doubt()
            raise StateError(f"Redis: {type(error).__name__}") from error
        self._failing = False
        return result
