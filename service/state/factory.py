"""Choice of the state: Redis if it is configured, otherwise a SQLite file, otherwise none."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bundle.events.keys import STATE_FILE
from bundle.events.outcomes import Impression, Outcome, Retention
from bundle.events.records import Event
from bundle.store.url import parse_root
from service.observability.logs import LOGGER
from service.observability.metrics import Metrics
from service.settings import Settings
from service.state.base import (
    NOTHING,
    Changes,
    NewChange,
    NewEvent,
    NoStateError,
    State,
    StateError,
    UserState,
)
from service.state.sqlite import LocalState

if TYPE_CHECKING:
    from service.redis.batched_reader import BatchedReader


class NoState:
    """State that is always empty and stores nothing; `async with` it.

    Args:
        reason: why there is no state, for errors of writes.
    """

    degraded = False
    refuses_writes = False
    """It is not meant to take any; the start warned of it."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def __aenter__(self) -> Self:
        """Open nothing."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close nothing."""

    async def user(self, user_id: str) -> UserState:
        """See `State`."""
        del user_id
        return NOTHING

    async def add_events(self, events: Sequence[NewEvent]) -> list[bool]:
        """See `State`."""
        del events
        raise NoStateError(self._reason)

    async def erase_user(self, user_id: str) -> None:
        """See `State`."""
        del user_id
        raise NoStateError(self._reason)

    async def add_changes(self, changes: Sequence[NewChange]) -> None:
        """See `State`."""
        del changes
        raise NoStateError(self._reason)

    async def changes(self, after: int) -> Changes:
        """See `State`."""
        del after
        return Changes([])

    async def keep_pages(self, user_id: str, token: str, body: bytes, ttl: int) -> None:
        """See `State`."""
        del user_id, token, body, ttl
        raise NoStateError(self._reason)

    async def pages(self, token: str) -> bytes | None:
        """See `State`."""
        del token
        return None

    async def add_impressions(
        self, impressions: Sequence[Impression], retention: Retention
    ) -> None:
        """See `State`."""
        del impressions, retention
        raise NoStateError(self._reason)

    async def add_outcomes(self, events: Sequence[Event], retention: Retention) -> list[Outcome]:
        """See `State`."""
        del events, retention
        raise NoStateError(self._reason)


def state_file(settings: Settings) -> Path | None:
    """The SQLite file of a service without Redis; None for an object store."""
    root = parse_root(settings.store)
    return settings.state or (None if isinstance(root, str) else root / STATE_FILE)


def open_state(settings: Settings, metrics: Metrics, redis: "BatchedReader | None" = None) -> State:
    """The state that the settings describe.

    The default is a file in a local store. If it cannot be created, or with an object store, the
    service answers requests but stores nothing. An existing file must be usable: it has deleted
    items and erased users.

    Raises:
        StateError: the configured or existing file cannot be used.
    """
    if redis is not None:
        from service.state.redis import RedisState  # loaded only where Redis is configured

        return RedisState(redis, settings)
    path = state_file(settings)
    try:
        if path is None:
            raise StateError(f"{settings.store}: an object store keeps no state")
        return LocalState(path, metrics, settings.state_timeout)
    except StateError as error:
        if settings.state is not None or (path is not None and path.exists()):
            raise
        LOGGER.warning("no_state", reason=str(error))
        return NoState("no state: start the service with --state FILE or --redis-url")
