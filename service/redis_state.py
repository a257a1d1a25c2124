"""State in Redis, shared by all replicas.

What a request reads (a user's recent events) goes through the `RedisLink`, one MGET for all that is
asked at the same moment. What is written goes through a client of its own, as one script for each
user, so that an event is in the log, in the user's recent events and remembered by its key, or in
none of them. Durable is what Redis makes durable: `appendonly yes`, and `appendfsync always` where
not even the last second may be lost.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from bundle.events import RECENT, Event, Keys, Note
from service.logs import LOGGER
from service.redis_client import Client, close_client, open_client
from service.redis_link import RedisLink
from service.redis_scripts import ADD_EVENT, ADD_NOTES, ERASE_RECENT, READ_NOTES
from service.settings import Settings
from service.state import NOTHING, NewEvent, NewNote, Notes, StateError, UserState
from service.vector_cache import CacheError

T = TypeVar("T")
ERASED = b"erased\n"
"""First line of the recent events of a user who was erased."""
LONGEST = 200 * RECENT
"""Each time that a user's recent events have grown by so many bytes, the oldest lines go."""
ONCE_SECONDS = 7 * 24 * 3600
"""How long an idempotency key is remembered."""
PAGE = 1000
"""Notes, or entries of the log, that are read at a time."""
CONNECTIONS = 16
"""Operations that are under way at a time; others wait, as long as each may take."""
FEW = 4
"""Operations that are tried at a time while Redis fails; others are refused at once."""


class RedisState:
    """A `State` in Redis; `async with` it.

    Args:
        link: the way by which requests read.
        settings: URL, namespace and time-outs.
    """

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._keys = Keys(settings.redis_namespace)
        self._events_ttl = settings.events_ttl
        # A cluster client needs one more to ask for the slots.
        self._client: Client = open_client(settings, settings.state_timeout, CONNECTIONS + 1)
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._timeout = settings.state_timeout
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failing = False

    @property
    def degraded(self) -> bool:
        """See `State`."""
        return self._link.degraded

    async def __aenter__(self) -> Self:
        """Nothing is left to do."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what was begun and close the connections."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await close_client(self._client)

    async def user(self, user_id: str) -> UserState:
        """See `State`."""
        try:
            lines = await self._link.get(self._keys.user(user_id).encode())
        except CacheError as failure:
            raise StateError(f"Redis: {failure.kind}") from None
        if lines is None:
            return NOTHING
        try:
            assert isinstance(lines, bytes)
            erased = lines.startswith(ERASED)
            events = lines.removeprefix(ERASED).splitlines()[-RECENT:]
            return UserState(erased, [Event.of_line(user_id, line) for line in events])
        except (AssertionError, ValueError, TypeError):
            raise StateError("Redis: a user's events cannot be read") from None

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
        return [reply == 1 for reply in await self._in_time(pipeline.execute)]

    async def erase_user(self, user_id: str) -> None:
        """See `State`."""
        await self._do(self._erase(user_id))

    async def _erase(self, user_id: str) -> None:
        erased = NewNote("user", user_id, b"{}")
        await self._add_notes([erased])
        log, mine = self._keys.log(user_id), user_id.encode()
        newest = await self._eval(ERASE_RECENT, (log, self._keys.user(user_id)), ERASED)
        start: bytes | None = b"-" if newest else None
        while start is not None:
            entries = await self._in_time(self._client.xrange, log, start, newest, PAGE)
            ids = [entry for entry, fields in entries if fields.get(b"user_id") == mine]
            if ids:
                await self._in_time(self._client.xdel, log, *ids)
            start = b"(" + entries[-1][0] if len(entries) == PAGE else None
        # A refresh that read the log meanwhile read too much; this has it look once more.
        await self._add_notes([erased])

    async def add_notes(self, notes: Sequence[NewNote]) -> None:
        """See `State`."""
        await self._do(self._add_notes(notes))

    async def _add_notes(self, notes: Sequence[NewNote]) -> None:
        flat = [part for note in notes for part in (f"{note.kind}:{note.name}", note.body)]
        await self._eval(ADD_NOTES, self._keys.notes, *flat)

    async def notes(self, after: int) -> Notes:
        """See `State`."""
        return await self._do(self._read_notes(after))

    async def _read_notes(self, after: int) -> Notes:
        found: list[Note] = []
        lost = False
        while True:
            now_lost, rows = await self._eval(READ_NOTES, self._keys.notes, after, PAGE)
            if now_lost:
                lost, found = True, []
            for name, number, body in rows:
                kind, _, identifier = name.decode().partition(":")
                found.append(Note(kind, identifier, int(number), body))
            if len(rows) < PAGE:
                return Notes(found, lost)
            after = found[-1].number

    async def keep_pages(self, token: str, body: bytes, ttl: int) -> None:
        """See `State`."""
        await self._do(self._in_time(self._client.set, self._keys.pages(token), body, ttl))

    async def pages(self, token: str) -> bytes | None:
        """See `State`."""
        try:
            found = await self._link.get(self._keys.pages(token).encode())
        except CacheError as failure:
            raise StateError(f"Redis: {failure.kind}") from None
        return found if isinstance(found, bytes) else None

    async def _eval(self, script: str, keys: Sequence[str], *values: object) -> Any:
        return await self._in_time(self._client.eval, script, len(keys), *keys, *values)

    async def _in_time(self, call: Callable[..., Any], *arguments: object) -> Any:
        async def when_there_is_room() -> Any:
            async with self._room:
                # Until a cluster client knows the slots, it sends scripts to any node.
                await self._client.initialize()
                return await call(*arguments)

        return await asyncio.wait_for(when_there_is_room(), self._timeout)

    async def _do(self, operation: Coroutine[Any, Any, T]) -> T:
        """Finish an operation, whoever goes away meanwhile: a reply is never left unread.

        While Redis fails, few are tried at a time: to wait for a time-out, too many would take
        the permits of requests that can be answered.
        """
        if len(self._tasks) >= FEW and (self._failing or self.degraded):
            operation.close()
            raise StateError("Redis: fails, and others are trying already")
        task = asyncio.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            result = await asyncio.shield(task)
        # Parsers raise many things when what they read is not Redis.
        except Exception as error:
            if not self._failing:
                LOGGER.warning("redis_state_failed", error=repr(error))
            self._failing = True
            raise StateError(f"Redis: {type(error).__name__}") from error
        self._failing = False
        return result
