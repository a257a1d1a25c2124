"""State: events, item changes, erased users, rankings, outcomes; outlives bundles and processes.

This is the interface; `service.state.sqlite` implements it in a SQLite file, `service.state.redis`
in Redis. One contract suite tests both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from bundle.errors import DRepMRecError
from bundle.events.outcomes import Impression, Outcome, Retention
from bundle.events.records import Change, ChangeKind, Event


class StateError(DRepMRecError):
    """The state could not be read or written.

    A write may or may not have happened; repeated with the same idempotency key, it happens exactly
    once.
    """


class NoStateError(StateError):
    """The service keeps no state; clients are told so."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to store.

    Attributes:
        event: the event.
        key: idempotency key; with the same key an event is stored once. None stores it each time.
    """

    event: Event
    key: str | None = None


@dataclass(frozen=True, slots=True)
class NewChange:
    """A change to store, which gets its number then."""

    kind: ChangeKind
    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class UserState:
    """A user's events since the bundle was built.

    Attributes:
        erased: whether the user was erased, so that the bundle's row must not be used.
        events: the newest RECENT events, oldest first; after an erasure, only newer ones.
    """

    erased: bool
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that are newer than a sequence number.

    Attributes:
        new: the newest change of each name, in the order of their numbers.
        lost: whether the state was lost or set back since; then `new` has all that exist.
    """

    new: Sequence[Change]
    lost: bool = False


NOTHING = UserState(erased=False, events=())


class State(Protocol):
    """Durable state, shared by all processes with the same configuration; `async with` it.

    Every method raises StateError if it cannot finish in time.
    """

    async def __aenter__(self) -> Self:
        """Open connections."""

    async def __aexit__(self, *_: object) -> None:
        """Finish writes and close."""

    @property
    def degraded(self) -> bool:
        """True while it is known to fail."""

    @property
    def refuses_writes(self) -> bool:
        """Failure of the last write, while reads may succeed."""

    async def user(self, user_id: str) -> UserState:
        """A user's recent events, and whether the user was erased."""

    async def add_events(self, events: Sequence[NewEvent]) -> list[bool]:
        """Store events, durable on return; for each, whether it is new by its key."""

    async def erase_user(self, user_id: str) -> None:
        """Delete a user's events, rankings, vectors, impressions and outcomes, and record that.

        Idempotency keys stay, so that a repeated request cannot bring an event back.
        """

    async def add_changes(self, changes: Sequence[NewChange]) -> None:
        """Store changes, durable on return; of several with the same name the last one counts."""

    async def changes(self, after: int) -> Changes:
        """Changes with a number greater than `after`."""

    async def keep_pages(self, user_id: str, token: str, body: bytes, ttl: int) -> None:
        """Store a user's ranking for `ttl` seconds, in place of one with the same token."""

    async def pages(self, token: str) -> bytes | None:
        """A stored ranking; None if it has expired."""

    async def add_impressions(
        self, impressions: Sequence[Impression], retention: Retention
    ) -> None:
        """Store the newest IMPRESSIONS of each user, and count those of users in an arm.

        Nothing is stored of users who were erased.
        """

    async def add_outcomes(self, events: Sequence[Event], retention: Retention) -> list[Outcome]:
        """Attribute stored events to impressions and store the outcomes; returns the new ones."""
