"""The feed of a state's changes: damaged changes, failing listeners and a failing state."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import numpy as np
import pytest

from bundle.catalogue.overlay import ItemChange
from bundle.events.keys import Keys
from bundle.events.records import Change, pack_change
from service.observability import background
from service.observability.metrics import Metrics
from service.state.base import Changes, NewChange, State, StateError
from service.state.change_feed import ChangeFeed
from tests.support.running.servers import RunningRedis
from tests.support.running.states import StateBackend, redis_backend, sqlite_backend
from tests.support.waiting import until

Heard = list[tuple[set[str], set[str]]]
POLL = 0.02
"""Seconds between the feed's looks at the state."""


def new_change(item_id: str, price: float = 1.0) -> NewChange:
    change = ItemChange(item_id, columns={"price": price})
    return NewChange("item", item_id, pack_change(change))


def run(
    backend: StateBackend, test: Callable[[State, ChangeFeed, Heard], Awaitable[None]]
) -> Metrics:
    metrics = Metrics()

    async def follow() -> None:
        async with (
            backend.open() as state,
            backend.open() as other,
            ChangeFeed(other, POLL, metrics) as feed,
        ):
            heard: Heard = []

            async def listen(items: Collection[str], users: Collection[str]) -> None:
                heard.append((set(items), set(users)))

            feed.listen(listen)
            await test(state, feed, heard)

    asyncio.run(follow())
    return metrics


def failures(metrics: Metrics, operation: str = "notes") -> float:
    found = metrics.registry.get_sample_value(
        "drepmrec_state_failures_total", {"operation": operation}
    )
    return found or 0.0


def defects(metrics: Metrics) -> float:
    found = metrics.registry.get_sample_value(
        "drepmrec_background_failures_total", {"work": "change_feed"}
    )
    return found or 0.0


def test_each_change_reaches_listeners_once(tmp_path: Path) -> None:
    async def test(state: State, feed: ChangeFeed, heard: Heard) -> None:
        await state.add_changes([new_change("a"), new_change("b")])
        await state.erase_user("u")
        await until(lambda: {"a", "b"} <= set(feed.changed) and feed.erased("u"), "the change")
        await state.add_changes([new_change("a", 2.0)])
        await until(lambda: len(heard) > 0 and heard[-1] == ({"a"}, set()), "the change")
        await asyncio.sleep(3 * POLL)
        assert [name for items, _ in heard for name in sorted(items)] == ["a", "b", "a"]

    metrics = run(sqlite_backend(tmp_path), test)
    assert failures(metrics) == 0


def test_damaged_notes_are_skipped(tmp_path: Path) -> None:
    features = {"text": np.ones(2, np.float32)}
    good = pack_change(ItemChange("x", features=features))
    bodies = [
        b"",
        b"[]",
        b"null",
        b"{}",
        good[:-1],
        b'{"deleted":0,"features":null,"columns":null}',
        b'{"deleted":false,"features":[],"columns":null}',
        b'{"deleted":false,"features":{"text":5},"columns":null}',
        b'{"deleted":false,"features":{"text":"AAA="},"columns":null}',
        b'{"deleted":false,"features":null,"columns":"red"}',
        b"\xff\xfe",
    ]

    async def test(state: State, feed: ChangeFeed, heard: Heard) -> None:
        for n, body in enumerate(bodies):
            await state.add_changes([NewChange("item", f"bad-{n}", body), new_change(f"good-{n}")])
        await state.add_changes(
            [
                NewChange("item", "", good),
                NewChange("of a later version", "x", good),  # type: ignore[arg-type]
                new_change("last"),
            ]
        )
        await until(lambda: "last" in feed.changed, "the change")
        assert set(feed.changed) == {"last", *(f"good-{n}" for n in range(len(bodies)))}
        assert len(heard) > 0

    metrics = run(sqlite_backend(tmp_path), test)
    assert failures(metrics, "change") == len(bodies) + 2


def test_a_name_that_is_no_text_does_not_hide_later_changes(shared_redis: RunningRedis) -> None:
    backend = redis_backend(shared_redis.url)
    _, newest, order, stored = Keys(backend.settings.redis_namespace).notes

    async def test(state: State, feed: ChangeFeed, _: Heard) -> None:
        await state.add_changes([new_change("a")])
        number = int(shared_redis.client.get(newest)) + 1  # type: ignore[arg-type]
        shared_redis.client.set(newest, number)
        shared_redis.client.zadd(order, {b"item:\xff": number})
        shared_redis.client.hset(stored, b"item:\xff", new_change("x").body)
        await state.add_changes([new_change("b")])
        await until(lambda: "b" in feed.changed, "the change")

    assert failures(run(backend, test)) == 0


def test_a_listener_that_fails_gets_the_change_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "PAUSE", POLL)

    async def test(state: State, feed: ChangeFeed, heard: Heard) -> None:
        attempts = 0

        async def failing(items: Collection[str], _: Collection[str]) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise RuntimeError("a defect")
            assert set(items) == {"a"}

        feed.listen(failing)
        await state.add_changes([new_change("a")])
        await until(lambda: attempts == 3, "the change")
        await state.add_changes([new_change("b")])
        await until(lambda: heard[-1][0] == {"b"}, "the change")

    metrics = run(sqlite_backend(tmp_path), test)
    assert defects(metrics) >= 2


def test_a_cancelled_caller_leaves_no_half_of_a_change(tmp_path: Path) -> None:
    async def test(state: State, feed: ChangeFeed, heard: Heard) -> None:
        finished: list[set[str]] = []
        may_finish = asyncio.Event()

        async def slow(items: Collection[str], _: Collection[str]) -> None:
            await may_finish.wait()
            finished.append(set(items))

        feed.listen(slow)
        await state.add_changes([new_change("a")])
        syncing = asyncio.create_task(feed.sync())
        await until(lambda: len(heard) == 1, "the first listener")
        syncing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await syncing
        may_finish.set()
        await feed.sync()
        assert finished == [{"a"}]
        assert heard == [({"a"}, set())]

    run(sqlite_backend(tmp_path), test)


def test_a_change_is_taken_in_when_its_caller_times_out() -> None:
    """Its note has been read and is not read again, so that half of a change would stay half."""

    class OneNote:
        async def changes(self, after: int) -> Changes:
            return Changes([] if after else [Change("user", "u", 1, b"{}")])

    async def follow() -> None:
        feed = ChangeFeed(OneNote(), 3600, Metrics())  # type: ignore[arg-type]
        heard: list[str] = []
        begun, may_finish = asyncio.Event(), asyncio.Event()

        async def listen(_: Collection[str], users: Collection[str]) -> None:
            begun.set()
            await may_finish.wait()
            heard.extend(users)

        feed.listen(listen)

        async def sync() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(feed.sync(), 0.5)

        syncing = asyncio.create_task(sync())
        await begun.wait()
        await syncing
        may_finish.set()
        await until(lambda: heard == ["u"], "the change")

    asyncio.run(follow())


def test_a_state_that_was_lost_and_filled_again(redis_server: RunningRedis) -> None:
    async def test(state: State, feed: ChangeFeed, heard: Heard) -> None:
        await state.add_changes([new_change("a"), new_change("b")])
        await state.erase_user("u")
        await until(lambda: feed.erased("u"), "the change")
        redis_server.client.flushall()
        await asyncio.sleep(3 * POLL)
        assert feed.changed == {"a", "b"}  # nothing is known to be otherwise
        await state.add_changes(
            [
                new_change("b", 5.0),
                new_change("c"),
                new_change("d"),
                new_change("e"),
                new_change("f"),
            ]
        )
        await until(lambda: "f" in feed.changed, "the change")
        assert set(feed.changed) == {"b", "c", "d", "e", "f"}
        assert not feed.erased("u")
        assert set().union(*(items for items, _ in heard[-1:])) == {*"abcdef"}

    run(redis_backend(redis_server.url), test)


def test_a_state_that_fails_for_a_while_is_followed_again(redis_server: RunningRedis) -> None:
    async def test(state: State, feed: ChangeFeed, heard: Heard) -> None:
        await state.add_changes([new_change("a")])
        await until(lambda: feed.changed == {"a"}, "the change")
        redis_server.kill()
        with pytest.raises(StateError):
            await feed.sync()
        await asyncio.sleep(5 * POLL)
        assert feed.changed == {"a"}
        redis_server.start()

        async def stored() -> bool:
            try:
                await state.add_changes([new_change("b")])
            except StateError:
                return False
            return True

        await until(stored, "a note in the restarted Redis")
        await until(lambda: feed.changed == {"b"}, "the change")
        assert heard[-1][0] == {"a", "b"}

    metrics = run(redis_backend(redis_server.url), test)
    assert failures(metrics) >= 1
