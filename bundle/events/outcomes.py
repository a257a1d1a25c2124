"""Impressions and outcomes: what answers have shown, and which events followed them.

An impression is what one answer showed to a user; an outcome is an event that is attributed to an
impression. `attribute` decides: an event belongs to its user's newest impression that shows its
item and is older than the event, by the window at most. It counts once by its type, however often
it is sent.

An impression has digests in place of item ids, 4 bytes each: enough to recognise an item among the
at most IMPRESSIONS · SHOWN that a user has, with one mistake in two million events.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self
from zlib import crc32

import numpy as np
import orjson

from bundle.events.records import Event

SHOWN = 100
"""Maximum number of items of an impression; hardly anybody looks at later ones."""
IMPRESSIONS = 20
"""Maximum number of impressions of a user that are kept; an event may follow the newest ones."""
LATE_SECONDS = 3600
"""Time for which an impression is kept beyond the window, in seconds, for events that arrive later
than they happened."""
SKEW_SECONDS = 2.0
"""Time by which an event may lie before its impression, in seconds: clients send whole seconds, and
clocks of machines differ."""
DAY = 24 * 3600
"""Length of a day, in seconds."""


class Retention(NamedTuple):
    """Times of outcomes, in seconds.

    Attributes:
        window: between an impression and an event that is attributed to it, at most.
        results: for which exposures and outcomes are kept.
    """

    window: int
    results: int

    @property
    def impressions(self) -> int:
        """Time for which impressions are kept, in seconds."""
        return self.window + LATE_SECONDS


@dataclass(frozen=True, slots=True)
class Impression:
    """Items that one answer showed to a user.

    Attributes:
        user_id: the user.
        timestamp: seconds since 1970, UTC.
        arm: `<experiment>/<arm>` of the user, if any.
        version: of the bundle that answered.
        source: origin of the items, as in the answer.
        first: rank of the first item, from 1; more than 1 on later pages.
        items: digests of the items in order of their ranks, see `item_digests`.
    """

    user_id: str
    timestamp: float
    arm: str | None
    version: str
    source: str
    first: int
    items: bytes

    @property
    def day(self) -> int:
        """Days since 1970."""
        return int(self.timestamp // DAY)

    @property
    def last(self) -> int:
        """Rank of the last item."""
        return self.first + len(self.items) // 4 - 1

    def pack(self) -> bytes:
        """Line of JSON with all fields but the user and the items, then the items."""
        fields = [self.timestamp, self.arm, self.version, self.source, self.first]
        return orjson.dumps(fields) + b"\n" + self.items

    @classmethod
    def unpack(cls, user_id: str, packed: bytes) -> Self:
        """Inverse of `pack`.

        Raises:
            ValueError, TypeError: not a packed impression.
        """
        line, _, items = packed.partition(b"\n")
        timestamp, arm, version, source, first = orjson.loads(line)
        if not isinstance(timestamp, float) or not isinstance(first, int) or len(items) % 4:
            raise TypeError("not a packed impression")
        return cls(user_id, timestamp, arm, version, source, first, items)


class Outcome(NamedTuple):
    """An event that is attributed to an impression.

    Attributes:
        impression: the impression.
        event: the event.
        rank: of the event's item in the impression, from 1.
    """

    impression: Impression
    event: Event
    rank: int


def item_digest(item_id: str) -> int:
    """Digest of an item, below 2³²."""
    return crc32(item_id.encode())


def item_digests(item_ids: Iterable[str]) -> bytes:
    """Digests of items, 4 bytes each."""
    digests = [*map(item_digest, item_ids)]
    return struct.pack(f"<{len(digests)}I", *digests)


def attribute(event: Event, impressions: Iterable[Impression], window: float) -> Outcome | None:
    """The outcome of an event; None if nothing that was shown led to it.

    Args:
        event: the event.
        impressions: those of its user, newest first.
        window: maximum time between both, in seconds.
    """
    digest = item_digest(event.item_id)
    for impression in impressions:
        if -SKEW_SECONDS <= event.timestamp - impression.timestamp <= window:
            places = np.flatnonzero(np.frombuffer(impression.items, "<u4") == digest)
            if len(places):
                return Outcome(impression, event, impression.first + int(places[0]))
    return None
