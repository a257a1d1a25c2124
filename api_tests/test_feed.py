"""Following a state's notes, whatever is wrong with one of them or with the state."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import numpy as np
import pytest
from servers import RunningRedis
from states import Place, redis_place, sqlite_place

from bundle.events import pack_change
from bundle.overlay import ItemChange
from service.feed import Feed
from service.metrics import Metrics
from service.state import NewNote, State, StateError

Heard = list[tuple[set[str], set[str]]]
SOON = 0.02


def note(item_id: str, price: float = 1.0) -> NewNote:
    change = ItemChange(item_id, columns={"price": price})
    return NewNote("item", item_id, pack_change(change))


def run(place: Place, test: Callable[[State, Feed, Heard], Awaitable[None]]) -> Metrics:
    metrics = Metrics()

    async def follow() -> None:
        async with (
            place.open() as state,
            place.open() as other,
            Feed(other, SOON, metrics) as feed,
        ):
            heard: Heard = []

            async def listen(items: Collection[str], users: Collection[str]) -> None:
                heard.append((set(items), set(users)))

            feed.listen(listen)
            await test(state, feed, heard)

    asyncio.run(follow())
    return metrics


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # it is read from outside
            await asyncio.sleep(SOON / 2)


def failures(metrics: Metrics) -> float:
    found = metrics.registry.get_sample_value(
        "drepmrec_state_failures_total", {"operation": "notes"}
    )
    return found or 0.0


def test_what_is_new_is_heard_once(tmp_path: Path) -> None:
    async def test(state: State, feed: Feed, heard: Heard) -> None:
        await state.add_notes([note("a"), note("b")])
        await state.erase_user("u")
        await until(lambda: {"a", "b"} <= feed.changed and feed.erased("u"))
        await state.add_notes([note("a", 2.0)])
        await until(lambda: len(heard) > 0 and heard[-1] == ({"a"}, set()))
        await asyncio.sleep(3 * SOON)
        assert [name for items, _ in heard for name in sorted(items)] == ["a", "b", "a"]

    metrics = run(sqlite_place(tmp_path), test)
    assert failures(metrics) == 0


def test_notes_that_cannot_be_read_stop_no_others(tmp_path: Path) -> None:
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

    async def test(state: State, feed: Feed, heard: Heard) -> None:
        for n, body in enumerate(bodies):
            await state.add_notes([NewNote("item", f"bad-{n}", body), note(f"good-{n}")])
        await until(lambda: f"good-{len(bodies) - 1}" in feed.changed)
        assert set(feed.changed) == {f"good-{n}" for n in range(len(bodies))}
        assert len(heard) > 0

    run(sqlite_place(tmp_path), test)


def test_who_cannot_take_a_change_in_gets_it_again(tmp_path: Path) -> None:
    async def test(state: State, feed: Feed, heard: Heard) -> None:
        attempts = 0

        async def clumsy(items: Collection[str], _: Collection[str]) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 3:
                raise RuntimeError("a defect")
            assert set(items) == {"a"}

        feed.listen(clumsy)
        await state.add_notes([note("a")])
        await until(lambda: attempts == 3)
        await state.add_notes([note("b")])
        await until(lambda: heard[-1][0] == {"b"})

    metrics = run(sqlite_place(tmp_path), test)
    assert failures(metrics) >= 2


def test_a_caller_that_goes_away_leaves_no_half_of_it(tmp_path: Path) -> None:
    async def test(state: State, feed: Feed, heard: Heard) -> None:
        finished: list[set[str]] = []

        async def slow(items: Collection[str], _: Collection[str]) -> None:
            await asyncio.sleep(0.05)
            finished.append(set(items))

        feed.listen(slow)
        await state.add_notes([note("a")])
        syncing = asyncio.create_task(feed.sync())
        await until(lambda: len(heard) == 1)
        syncing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await syncing
        await feed.sync()
        assert finished == [{"a"}]
        assert heard == [({"a"}, set())]

    run(sqlite_place(tmp_path), test)


def test_a_state_that_was_lost_and_filled_again(redis_server: RunningRedis) -> None:
    async def test(state: State, feed: Feed, heard: Heard) -> None:
        await state.add_notes([note("a"), note("b")])
        await state.erase_user("u")
        await until(lambda: feed.erased("u"))
        redis_server.client.flushall()
        await asyncio.sleep(3 * SOON)
        assert feed.changed == {"a", "b"}  # nothing is known to be otherwise
        await state.add_notes([note("b", 5.0), note("c"), note("d"), note("e"), note("f")])
        await until(lambda: "f" in feed.changed)
        assert set(feed.changed) == {"b", "c", "d", "e", "f"}
        assert not feed.erased("u")
        assert set().union(*(items for items, _ in heard[-1:])) == {*"abcdef"}

    run(redis_place(redis_server.url), test)


def test_a_state_that_fails_for_a_while_is_followed_again(redis_server: RunningRedis) -> None:
    async def test(state: State, feed: Feed, heard: Heard) -> None:
        await state.add_notes([note("a")])
        await until(lambda: feed.changed == {"a"})
        redis_server.kill()
        with pytest.raises(StateError):
            await feed.sync()
        await asyncio.sleep(5 * SOON)
        assert feed.changed == {"a"}
        redis_server.start()
        async with asyncio.timeout(10):
            while True:
                try:
                    await state.add_notes([note("b")])
                    break
                except StateError:
                    await asyncio.sleep(SOON)
        await until(lambda: feed.changed == {"b"})
        assert heard[-1][0] == {"a", "b"}

    metrics = run(redis_place(redis_server.url), test)
    assert failures(metrics) >= 1
