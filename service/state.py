"""What outlives a bundle and a process: events, changes of items, erased users, rankings in use.

The interface; `local_state` keeps it in a SQLite file, `redis_state` in Redis. One contract suite
tests both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from bundle.errors import DRepMRecError
from bundle.events import Event, Note, NoteKind


class StateError(DRepMRecError):
    """The state could not be read or written.

    What was to be written may or may not have been: who repeats it with the same idempotency key
    gets it exactly once.
    """


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be kept.

    Attributes:
        event: it.
        key: with the same key it is kept once only; None keeps it each time.
    """

    event: Event
    key: str | None = None


@dataclass(frozen=True, slots=True)
class NewNote:
    """A `Note` before it has a number."""

    kind: NoteKind
    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class UserState:
    """What was heard of a user since bundles were made of it.

    Attributes:
        erased: what a bundle knows of the user must not be used.
        events: the newest RECENT events, oldest first; after an erasure, those since.
    """

    erased: bool
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Notes:
    """The answer to whoever has heard of all notes up to a number.

    Attributes:
        new: the newest note of each name, of those with a greater number, in order.
        lost: the state was lost, or set back, and filled again since: `new` is all that there is.
    """

    new: Sequence[Note]
    lost: bool = False


NOTHING = UserState(erased=False, events=())


class State(Protocol):
    """Durable state, shared by all processes that are configured alike.

    `async with` it. Every method raises StateError if it cannot do its work in time.
    """

    async def __aenter__(self) -> Self:
        """Open what is not open yet."""

    async def __aexit__(self, *_: object) -> None:
        """Finish writing and close."""

    @property
    def degraded(self) -> bool:
        """Whether it is known not to work at the moment."""

    async def user(self, user_id: str) -> UserState:
        """What was heard of a user."""

    async def add_events(self, events: Sequence[NewEvent]) -> list[bool]:
        """Keep events; durable on return. Says for each whether it is new, by its key."""

    async def erase_user(self, user_id: str) -> None:
        """Forget a user's events and note that the user was erased.

        Idempotency keys stay, so that no client brings an event back by repeating it.
        """

    async def add_notes(self, notes: Sequence[NewNote]) -> None:
        """Keep notes; durable on return. Of several with one name the last one counts."""

    async def notes(self, after: int) -> Notes:
        """What is new to somebody who has heard of all notes up to `after`."""

    async def keep_pages(self, token: str, body: bytes, ttl: int) -> None:
        """Keep a ranking for so many seconds, in place of one with the same token."""

    async def pages(self, token: str) -> bytes | None:
        """A ranking that was kept, None if there is none any more."""
