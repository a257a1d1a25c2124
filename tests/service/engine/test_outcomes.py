"""Outcome recorder: the order of its rounds, a full queue, and who is measured."""

import asyncio
from collections.abc import Sequence

from bundle.events.outcomes import SHOWN, Impression, Outcome, Retention
from bundle.events.records import Event
from service.engine.outcomes import MAX_BATCH, MAX_WAITING, OutcomeRecorder, _group
from service.observability.metrics import Metrics
from service.observability.outcomes import GROUPS
from service.settings import Settings
from service.state.factory import NoState

ITEMS = [f"item-{n}" for n in range(2 * SHOWN)]


class Written(NoState):
    """A state that notes what it is asked to write."""

    def __init__(self) -> None:
        super().__init__("a test")
        self.batches: list[Sequence[Impression] | Sequence[Event]] = []

    async def add_impressions(
        self, impressions: Sequence[Impression], retention: Retention
    ) -> None:
        assert retention == Retention(86400, 90 * 86400)
        self.batches.append(impressions)

    async def add_outcomes(self, events: Sequence[Event], retention: Retention) -> list[Outcome]:
        assert retention == Retention(86400, 90 * 86400)
        self.batches.append(events)
        return []


def recorder(state: NoState, share: float = 1, metrics: Metrics | None = None) -> OutcomeRecorder:
    settings = Settings(store="unused", outcome_share=share)
    return OutcomeRecorder(state, settings, metrics or Metrics())


def happened(user_id: str) -> Event:
    return Event(user_id, "item-1", "view", 1.0, 1.0)


def test_events_wait_for_the_impressions_of_the_round_after_them() -> None:
    state = Written()

    async def test() -> None:
        one = recorder(state)
        one.follow(happened("user-1"))
        await one._round()
        assert state.batches == []
        one.show("user-1", None, "v1", "popular", ITEMS, 3)
        await one._round()
        assert [type(batch[0]) for batch in state.batches] == [Impression, Event]
        [shown] = state.batches[0]
        assert isinstance(shown, Impression)
        assert (shown.first, shown.last) == (3, SHOWN + 2)

    asyncio.run(test())


def test_what_waits_is_bounded_and_written_in_batches() -> None:
    state, metrics = Written(), Metrics()

    async def test() -> None:
        async with recorder(state, metrics=metrics) as one:
            for n in range(MAX_WAITING + 7):
                one.show(f"user-{n}", None, "v1", "popular", ["item-1"])
                one.follow(happened(f"user-{n}"))

    asyncio.run(test())
    assert {len(batch) for batch in state.batches} == {MAX_BATCH}
    assert len(state.batches) == 2 * MAX_WAITING // MAX_BATCH
    for kind in ("impression", "event"):
        labels = {"kind": kind, "result": "dropped"}
        dropped = metrics.registry.get_sample_value("drepmrec_outcome_records_total", labels)
        assert dropped == 7


def test_a_service_without_a_state_counts_what_it_cannot_write() -> None:
    metrics = Metrics()

    async def test() -> None:
        async with recorder(NoState("a test"), metrics=metrics) as one:
            one.show("user-1", None, "v1", "popular", ITEMS)
            one.follow(happened("user-1"))

    asyncio.run(test())
    for kind in ("impression", "event"):
        labels = {"kind": kind, "result": "failed"}
        failed = metrics.registry.get_sample_value("drepmrec_outcome_records_total", labels)
        assert failed == 1


def test_a_share_of_the_users_is_measured_and_groups_are_of_one_size() -> None:
    users = [f"user-{n}" for n in range(20_000)]
    some, more = recorder(Written(), 0.1), recorder(Written(), 0.3)
    tenth = {user for user in users if some.measures(user)}
    third = {user for user in users if more.measures(user)}
    assert abs(len(tenth) / len(users) - 0.1) < 0.01
    assert tenth < third  # a larger share keeps the users of a smaller one
    sizes = [0] * GROUPS
    for user in tenth:
        sizes[_group(user)] += 1
    assert min(sizes) > 0.6 * len(tenth) / len(sizes)
