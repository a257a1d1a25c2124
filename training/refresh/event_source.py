"""Event sources: the interface to a log of events that a refresh reads."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from bundle.events.records import Change, Event

PAGE = 10_000
"""Events per page; bounds the memory of a read."""

Positions = Mapping[str, str]
"""Read positions of a source: an opaque text per place, e.g. per Redis stream."""


class Page(NamedTuple):
    """A page of events, and how far the source has been read with it."""

    events: list[Event]
    positions: Positions


class EventSource(Protocol):
    """An event source.

    Attributes:
        cleaned: whether erasing a user deletes the user's events in the source.
    """

    cleaned: bool

    def read(self, after: Positions) -> Iterator[Page]:
        """Read events after some positions; events of a user are in order of arrival."""

    def notes(self) -> list[str]:
        """Sentences about what the source does not read, e.g. files of another type."""

    def check_kept(self) -> None:
        """Raise a SourceError if nobody has ever written into a log that a service should keep."""

    def changes(self, after: int) -> list[Change]:
        """Newest change per item and user among those with a number above `after`, in order."""

    def erased(self) -> dict[str, int]:
        """All users ever erased, with the number of their latest erasure."""

    def trim(self, positions: Positions) -> None:
        """Delete events up to some positions."""
