"""Impressions and outcomes: one contract for a SQLite file, a Redis, a Redis Cluster."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from time import time
from typing import Any

import pytest

from bundle.events.keys import PARTITIONS, Keys
from bundle.events.outcomes import (
    DAY,
    IMPRESSIONS,
    SKEW_SECONDS,
    Impression,
    Retention,
    item_digests,
)
from bundle.events.records import Event
from service.observability.metrics import Metrics
from service.state.base import State, StateError
from service.state.sqlite import LocalState
from tests.support.running.states import UNUSUAL_IDS, StateBackend, run

NOW = time()
RETENTION = Retention(window=3600, results=30 * DAY)
ITEMS = ("item-1", "item-2", "item-3")


def shown(user_id: str, at: float = 0, items: tuple[str, ...] = ITEMS, **more: Any) -> Impression:
    first = Impression(user_id, NOW + at, "test/b", "v1", "known_user", 1, item_digests(items))
    return replace(first, **more)


def event(user_id: str, item_id: str, at: float = 10, kind: str = "view") -> Event:
    return Event(user_id, item_id, kind, NOW + at, 1.0)


def exposures(backend: StateBackend) -> dict[tuple[str, str, int], int]:
    """Number of impressions of each user, arm and day."""
    if backend.settings.redis_url is None:
        assert backend.settings.state is not None
        with closing(sqlite3.connect(backend.settings.state)) as connection:
            rows = connection.execute("SELECT user_id, arm, day, number FROM exposures")
            return {(user, arm, day): number for user, arm, day, number in rows}
    found = {}
    with closing(backend.client()) as client:
        for key in client.scan_iter(f"drepmrec:{backend.settings.redis_namespace}:*:outcomes:*"):
            for field, number in client.hgetall(key).items():
                parts = json.loads(field)
                if len(parts) == 2:
                    user = key.decode().split(":outcomes:", 1)[1]
                    found[user, parts[1], parts[0]] = int(number)
    return found


def test_an_event_is_attributed_to_the_newest_impression_that_shows_its_item(
    backend: StateBackend,
) -> None:
    impressions = [
        shown("user-1", -900, version="v0"),
        shown("user-1", -600, source="folded_in"),
        shown("user-1", -300, ("item-9", "item-3"), first=21),
        shown("user-2", -300, ("item-7",), arm=None),
        shown("user-1", 500),
    ]

    async def test(one: State, other: State) -> None:
        await one.add_impressions(impressions, RETENTION)
        asked = [
            *(event("user-1", item) for item in ("item-3", "item-2", "item-7")),
            event("user-2", "item-7", kind="a_B-9.z"),
            event("user-3", "item-1"),
        ]
        found = await other.add_outcomes(asked, RETENTION)
        assert [(o.impression, o.event, o.rank) for o in found] == [
            (impressions[2], asked[0], 22),
            (impressions[1], asked[1], 2),
            (impressions[3], asked[3], 1),
        ]

    run(backend, test)
    assert exposures(backend) == {("user-1", "test/b", shown("user-1").day): 4}


def test_an_event_counts_once_by_its_type_however_many_send_it(backend: StateBackend) -> None:
    async def test(one: State, other: State) -> None:
        await one.add_impressions([shown("user-1")], RETENTION)
        view, buy = event("user-1", "item-1"), event("user-1", "item-1", kind="purchase")
        both = await asyncio.gather(
            one.add_outcomes([view, buy], RETENTION), other.add_outcomes([view, view], RETENTION)
        )
        assert sorted(o.event.type for found in both for o in found) == ["purchase", "view"]
        assert await other.add_outcomes([event("user-1", "item-1", 20)], RETENTION) == []
        # A new impression may be followed again.
        await one.add_impressions([shown("user-1", 30)], RETENTION)
        assert len(await one.add_outcomes([event("user-1", "item-1", 40)], RETENTION)) == 1

    run(backend, test)


def test_the_window_is_a_time_after_the_impression(backend: StateBackend) -> None:
    async def test(one: State, _: State) -> None:
        users = [f"user-{n}" for n in range(4)]
        await one.add_impressions([shown(user, 0) for user in users], RETENTION)
        times = (-SKEW_SECONDS - 1, -SKEW_SECONDS + 0.5, 3599, 3601)
        events = [event(user, "item-1", at) for user, at in zip(users, times, strict=True)]
        found = await one.add_outcomes(events, RETENTION)
        assert [o.event.user_id for o in found] == ["user-1", "user-2"]

    run(backend, test)


def test_the_newest_impressions_are_kept(backend: StateBackend) -> None:
    impressions = [shown("user-1", n, (f"item-{n}",)) for n in range(IMPRESSIONS + 5)]

    async def test(one: State, other: State) -> None:
        await one.add_impressions(impressions[:7], RETENTION)
        await other.add_impressions(impressions[7:], RETENTION)
        events = [event("user-1", f"item-{n}", 100) for n in range(len(impressions))]
        found = await other.add_outcomes(events, RETENTION)
        assert [o.impression for o in found] == impressions[5:]

    run(backend, test)
    assert sum(exposures(backend).values()) == len(impressions)


def test_any_id_can_be_measured(backend: StateBackend) -> None:
    users = [*UNUSUAL_IDS, *(f"user-{n}" for n in range(2 * PARTITIONS))]

    async def test(one: State, other: State) -> None:
        items = tuple(UNUSUAL_IDS)
        await one.add_impressions([shown(user, items=items) for user in users], RETENTION)
        events = [event(user, item) for user in users for item in UNUSUAL_IDS]
        found = await other.add_outcomes(events, RETENTION)
        assert [(o.event, o.rank) for o in found] == [
            (one, n % len(UNUSUAL_IDS) + 1) for n, one in enumerate(events)
        ]

    run(backend, test)
    assert exposures(backend) == {(user, "test/b", shown(user).day): 1 for user in users}


def test_nothing_of_an_erased_user_is_kept_or_comes_back(backend: StateBackend) -> None:
    async def test(one: State, other: State) -> None:
        users = ["Maria Muster", "user-2"]
        await one.add_impressions([shown(user) for user in users], RETENTION)
        assert len(await one.add_outcomes([event("Maria Muster", "item-1")], RETENTION)) == 1
        await one.erase_user("Maria Muster")
        # Another worker writes what waited.
        await other.add_impressions([shown(user, 1) for user in users], RETENTION)
        events = [event(user, "item-2") for user in users]
        found = await other.add_outcomes(events, RETENTION)
        assert [o.event.user_id for o in found] == ["user-2"]

    run(backend, test)
    assert exposures(backend) == {("user-2", "test/b", shown("user-2").day): 2}


def test_what_is_kept_in_redis_expires(backend: StateBackend) -> None:
    if backend.settings.redis_url is None:
        pytest.skip("a file has no keys that expire")

    async def test(one: State, _: State) -> None:
        old = shown("user-1", -40 * DAY)
        await one.add_impressions([old], Retention(3600, 50 * DAY))
        await one.add_outcomes([event("user-1", "item-1", -40 * DAY)], Retention(3600, 50 * DAY))
        await one.add_impressions([shown("user-1")], RETENTION)

    run(backend, test)
    assert [day for _, _, day in exposures(backend)] == [shown("user-1").day]
    with closing(backend.client()) as client:
        keys = Keys(backend.settings.redis_namespace)
        assert client.hlen(keys.outcomes("user-1")) == 1  # the old outcome went, too
        assert 0 < client.ttl(keys.outcomes("user-1")) <= RETENTION.results
        assert 0 < client.ttl(keys.shown("user-1")) <= RETENTION.impressions


def test_what_is_kept_in_a_file_expires(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.sqlite3"
    tables = ("shown", "exposures", "outcomes")

    def counts() -> list[int]:
        with closing(sqlite3.connect(path)) as connection:
            return [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables]

    async def test() -> None:
        async with LocalState(path, Metrics(), 60) as state:
            await state.add_impressions([shown("user-1")], RETENTION)
            await state.add_outcomes([event("user-1", "item-1")], RETENTION)
            found = []
            for later in (0, RETENTION.impressions + 60, RETENTION.results + 60):
                monkeypatch.setattr("service.state.sqlite.time", lambda at=later: time() + at)
                await state._clean_up()
                found.append(counts())
            assert found == [[1, 1, 1], [0, 1, 1], [0, 0, 0]]

    asyncio.run(test())


def test_an_impression_that_cannot_be_read_is_left_out(backend: StateBackend) -> None:
    if backend.settings.redis_url is None:
        pytest.skip("SQLite has checks of its own")

    async def test(one: State, _: State) -> None:
        await one.add_impressions([shown("user-1")], RETENTION)
        key = Keys(backend.settings.redis_namespace).shown("user-1")
        with closing(backend.client()) as client:
            client.lpush(
                key,
                b"no impression",
                b"[1]\nabcd",
                b'[1.5,null,"v","s",1]\nodd',
                b"[null,1,2,3,4]\n",
            )
        assert len(await one.add_outcomes([event("user-1", "item-1")], RETENTION)) == 1

    run(backend, test)


def test_a_redis_that_answers_something_else_is_no_success(backend: StateBackend) -> None:
    if backend.settings.redis_url is None:
        pytest.skip("there is no Redis")

    async def test(one: State, _: State) -> None:
        with closing(backend.client()) as client:
            client.set(Keys(backend.settings.redis_namespace).shown("user-1"), "no list")
        with pytest.raises(StateError):
            await one.add_impressions([shown("user-1")], RETENTION)
        with pytest.raises(StateError):
            await one.add_outcomes([event("user-1", "item-1")], RETENTION)

    run(backend, test)
