"""Which state a service has: Redis where there is one, else a file, else none."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bundle.store_url import parse_root
from service.local_state import LocalState
from service.logs import LOGGER
from service.settings import Settings
from service.state import NOTHING, NewEvent, NewNote, Notes, State, StateError, UserState

if TYPE_CHECKING:
    from service.redis_link import RedisLink

STATE_FILE = "state.sqlite3"


class NoState:
    """A `State` that has heard of nothing and keeps nothing; `async with` it.

    Args:
        reason: why, for whoever wants something kept.
    """

    degraded = False

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    async def user(self, user_id: str) -> UserState:
        """See `State`."""
        del user_id
        return NOTHING

    async def add_events(self, events: Sequence[NewEvent]) -> list[bool]:
        """See `State`."""
        del events
        raise StateError(self._reason)

    async def erase_user(self, user_id: str) -> None:
        """See `State`."""
        del user_id
        raise StateError(self._reason)

    async def add_notes(self, notes: Sequence[NewNote]) -> None:
        """See `State`."""
        del notes
        raise StateError(self._reason)

    async def notes(self, after: int) -> Notes:
        """See `State`."""
        del after
        return Notes([])

    async def keep_pages(self, token: str, body: bytes, ttl: int) -> None:
        """See `State`."""
        del token, body, ttl
        raise StateError(self._reason)

    async def pages(self, token: str) -> bytes | None:
        """See `State`."""
        del token
        return None


def state_file(settings: Settings) -> Path | None:
    """The SQLite file of a service without Redis; an object store has none."""
    root = parse_root(settings.store)
    return settings.state or (None if isinstance(root, str) else root / STATE_FILE)


def open_state(settings: Settings, redis: "RedisLink | None" = None) -> State:
    """The state that the settings ask for.

    Without any wish it is a file in a local store. Where that cannot be made, and with an object
    store, the service answers and keeps nothing. One that is there has to be used: deleted items
    and erased users are in it.

    Raises:
        StateError: the file that was asked for, or is there, cannot be used.
    """
    if redis is not None:
        from service.redis_state import RedisState  # see `service.app`

        return RedisState(redis, settings)
    path = state_file(settings)
    try:
        if path is None:
            raise StateError(f"{settings.store}: an object store keeps no state")
        return LocalState(path)
    except StateError as error:
        if settings.state is not None or (path is not None and path.exists()):
            raise
        LOGGER.warning("no_state", reason=str(error))
        return NoState("no state: start the service with --state FILE or --redis-url")
