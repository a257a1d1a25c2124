"""Outcome recorder: remembers what was shown, and attributes the events that follow.

Neither costs a request more than an entry in a queue. Every PAUSE seconds a round writes all
impressions that wait, then attributes the events that waited since the round before: by then other
workers have written the answers that these events followed. What waits is lost with a process that
is killed; what the state refuses is lost and counted in `drepmrec_outcome_records_total`.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from time import time
from typing import Self, TypeVar

from bundle.events.outcomes import SHOWN, Impression, Retention, item_digests
from bundle.events.records import Event
from service.observability.background import BackgroundLoop
from service.observability.metrics import Metrics
from service.observability.outcomes import GROUPS
from service.settings import Settings
from service.state.base import State, StateError

Record = TypeVar("Record", Impression, Event)
PAUSE = 0.25
"""Time between two rounds, in seconds; nobody reacts to an answer in less."""
MAX_WAITING = 10_000
"""Maximum number of impressions, and of events, that wait; more are dropped."""
MAX_BATCH = 1_000
"""Maximum number of records of one write, which others wait for."""


class OutcomeRecorder:
    """Records impressions and outcomes of a share of the users; `async with` it.

    Args:
        state: keeps them.
        settings: share and times.
        metrics: count them.
    """

    def __init__(self, state: State, settings: Settings, metrics: Metrics) -> None:
        self._state = state
        self._share = settings.outcome_share
        self._retention = Retention(settings.outcome_window, settings.outcome_ttl)
        self._timeout = settings.state_timeout
        self._metrics = metrics
        self._impressions: list[Impression] = []
        self._events: list[Event] = []
        self._earlier_events: list[Event] = []
        self._rounds: BackgroundLoop | None = None

    async def __aenter__(self) -> Self:
        """Start the rounds."""
        self._rounds = BackgroundLoop("outcomes", self._round, self._metrics, PAUSE)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what waits, unless the state takes longer than one write may."""
        if self._rounds is not None:
            await self._rounds.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._round()
                await self._round()

    def measures(self, user_id: str) -> bool:
        """True if the user is in the share, always or never."""
        return _place(user_id) < self._share

    def show(
        self,
        user_id: str,
        arm: str | None,
        version: str,
        source: str,
        item_ids: Sequence[str],
        first: int = 1,
    ) -> None:
        """Remember an answer to a user who is measured.

        Args:
            user_id: the user.
            arm: `<experiment>/<arm>`, if any.
            version: of the bundle.
            source: origin of the items.
            item_ids: the items in order of their ranks; those after SHOWN are not remembered.
            first: rank of the first one.
        """
        items = item_digests(item_ids[:SHOWN])
        shown = Impression(user_id, time(), arm, version, source, first, items)
        self._add(self._impressions, shown, "impression")

    def follow(self, event: Event) -> None:
        """Attribute a stored event, if its user is measured."""
        if self.measures(event.user_id):
            self._add(self._events, event, "event")

    def _add(self, waiting: list[Record], record: Record, kind: str) -> None:
        if len(waiting) < MAX_WAITING:
            waiting.append(record)
        else:
            self._count(kind, "dropped", 1)

    async def _round(self) -> None:
        impressions, self._impressions = self._impressions, []
        events, self._earlier_events, self._events = self._earlier_events, self._events, []
        for start in range(0, len(impressions), MAX_BATCH):
            await self._write_impressions(impressions[start : start + MAX_BATCH])
        for start in range(0, len(events), MAX_BATCH):
            await self._write_outcomes(events[start : start + MAX_BATCH])

    async def _write_impressions(self, batch: list[Impression]) -> None:
        try:
            await self._state.add_impressions(batch, self._retention)
        except StateError:
            self._count("impression", "failed", len(batch))
            return
        alike = Counter(
            (one.arm, one.version, one.source, range(one.first, one.last + 1), _group(one.user_id))
            for one in batch
        )
        for labels, times in alike.items():
            self._metrics.outcomes.show(*labels, times)
        self._count("impression", "written", len(batch))

    async def _write_outcomes(self, batch: list[Event]) -> None:
        try:
            outcomes = await self._state.add_outcomes(batch, self._retention)
        except StateError:
            self._count("event", "failed", len(batch))
            return
        for shown, event, rank in outcomes:
            if event.weight > 0:
                labels = shown.arm, shown.version, shown.source, rank, _group(event.user_id)
                self._metrics.outcomes.attribute(*labels)
        self._count("event", "attributed", len(outcomes))
        self._count("event", "unattributed", len(batch) - len(outcomes))

    def _count(self, kind: str, result: str, number: int) -> None:
        self._metrics.outcomes.records.labels(kind, result).inc(number)


def _digest(user_id: str) -> int:
    return int.from_bytes(blake2b(b"outcomes\n" + user_id.encode(), digest_size=8).digest())


def _place(user_id: str) -> float:
    """Place of a user, 0 … 1, which no experiment's assignment depends on."""
    return _digest(user_id) / 2**64


def _group(user_id: str) -> int:
    return _digest(user_id) % GROUPS
