"""Concurrent writers, cancelled requests, and writers that wait for a Redis that hangs."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.events.records import RECENT, Event
from service.state.base import NewChange, NewEvent, State, StateError
from tests.support.running.proxies import SlowProxy
from tests.support.running.servers import RunningRedis
from tests.support.running.states import StateBackend, event, redis_backend, sqlite_backend
from tests.support.waiting import until

WAIT = 3.0
"""Seconds that a write waits for a hung Redis: longer than a busy machine takes for one."""


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, shared_redis: RunningRedis
) -> Iterator[StateBackend]:
    """A state of each kind; the Redis is behind a slow proxy, which a cluster cannot be."""
    match request.param:
        case "sqlite":
            yield sqlite_backend(tmp_path)
        case "redis":
            proxy = SlowProxy(shared_redis.port, (0.001, 0.02))
            yield redis_backend(proxy.url)
            proxy.close()
        case _:
            yield redis_backend(request.getfixturevalue("cluster").url, cluster=True)


def test_concurrent_writers(backend: StateBackend) -> None:
    """Each writer's events stay in order, none is lost, and a key counts once for all clients."""

    async def run() -> list[int]:
        async with backend.open() as one, backend.open() as other:

            async def write(writer: int) -> int:
                accepted = 0
                for n in range(20):
                    events = [
                        NewEvent(event(f"user-{n % 3}", f"{writer}-{n}")),
                        NewEvent(event(f"user-{n % 3}", f"shared-{n}"), f"shared-{n}"),
                    ]
                    accepted += sum(await (one, other)[writer % 2].add_events(events))
                return accepted

            accepted = await asyncio.gather(*map(write, range(16)))
            for user in range(3):
                heard = (await one.user(f"user-{user}")).events
                for writer in range(16):
                    mine = [
                        int(e.item_id.split("-")[1]) for e in heard if f"{writer}-" in e.item_id
                    ]
                    assert [n for n in mine if n % 3 == user] == mine
            return accepted

    accepted = asyncio.run(run())
    assert sum(accepted) == 16 * 20 + 20
    counts = Counter(e.item_id for e in backend.log())
    assert len(counts) == 16 * 20 + 20
    assert set(counts.values()) == {1}


def test_erasure_while_events_are_written(backend: StateBackend) -> None:
    """The user's events and the log are the same: the events since the erasure."""

    async def run() -> list[Event]:
        async with backend.open() as one, backend.open() as other:
            await one.add_events([NewEvent(event("user-1", f"before-{n}")) for n in range(50)])

            async def write() -> None:
                for n in range(60):
                    await other.add_events([NewEvent(event("user-1", f"{n}"))])

            writing = asyncio.create_task(write())
            for _ in range(3):
                await asyncio.sleep(0.02)
                await one.erase_user("user-1")
            await writing
            return list((await one.user("user-1")).events)

    heard = asyncio.run(run())
    assert backend.log() == heard
    assert [e.item_id for e in heard] == [f"{n}" for n in range(60 - len(heard), 60)]


@pytest.mark.slow
def test_cancelled_requests_leave_nothing_half_done(backend: StateBackend) -> None:
    """A third is cancelled during the work; the others get their own answers."""
    rng = random.Random(0)
    finished: Counter[str] = Counter()

    async def use(state: State, n: int) -> str:
        user = f"user-{n % 7}"
        match n % 4:
            case 0:
                new = [NewEvent(event(user, f"{n}-{i}"), f"{n}-{i}") for i in range(3)]
                assert await state.add_events(new) == [True] * 3
            case 1:
                await state.add_changes([NewChange("item", f"{n}", b"%d" % n)])
            case 2:
                heard = await state.user(user)
                assert all(e.user_id == user for e in heard.events)
                assert all(int(e.item_id.split("-")[0]) % 7 == n % 7 for e in heard.events)
            case _:
                changes = await state.changes(0)
                assert all(change.body == change.name.encode() for change in changes.new)
        return f"{n}"

    async def storm() -> None:
        async with backend.open() as state:
            tasks = []
            for n in range(800):
                tasks.append(asyncio.create_task(use(state, n)))
                if rng.random() < 0.15:
                    await asyncio.sleep(rng.uniform(0, 0.004))
                if rng.random() < 0.35:
                    rng.choice([t for t in tasks[-8:] if not t.done()] or tasks[-1:]).cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            cancelled = [r for r in results if isinstance(r, asyncio.CancelledError)]
            finished.update(r for r in results if isinstance(r, str))
            assert len(cancelled) > 100
            assert len(finished) + len(cancelled) == 800, {repr(r) for r in results}
            # The connections still work, and each request gets its own reply.
            for n in range(2, 60, 4):
                await use(state, n)

    asyncio.run(storm())
    log = Counter(e.item_id for e in backend.log())
    assert set(log.values()) == {1}
    groups = Counter(item.split("-")[0] for item in log)
    for n in finished:
        assert int(n) % 4 or groups[n] == 3  # what was acknowledged is there

    async def heard() -> list[Event]:
        async with backend.open() as state:
            return [e for u in range(7) for e in (await state.user(f"user-{u}")).events]

    assert Counter(e.item_id for e in asyncio.run(heard())) == log
    assert max(groups.values()) == 3
    if backend.settings.redis_url is None:
        assert min(groups.values()) == 3  # one transaction: all of a request or nothing


@pytest.mark.slow
def test_a_hung_redis_holds_few_writers() -> None:
    """Writers that come while others wait are refused at once; later writes succeed again."""
    server = RunningRedis()
    backend = redis_backend(server.url, state_timeout=WAIT)

    async def run() -> None:
        async with backend.open() as state:
            loop = asyncio.get_running_loop()
            await state.add_events([NewEvent(event("user-1", "item-1"))])

            async def attempt(n: int) -> float:
                started = loop.time()
                with pytest.raises(StateError):
                    await state.add_events([NewEvent(event("user-1", f"{n}"), f"{n}")])
                return loop.time() - started

            server.hang()
            assert await attempt(0) > 0.9 * WAIT
            seconds = await asyncio.gather(*map(attempt, range(1, 101)))
            assert sum(s > 0.9 * WAIT for s in seconds) <= 4
            assert max(seconds) < 60
            server.resume()

            async def stored() -> bool:
                try:
                    await state.add_events([NewEvent(event("user-1", "last"), "last")])
                except StateError:
                    return False
                return True

            await until(stored, "an event in the Redis that runs again")
            await asyncio.gather(
                *(state.add_events([NewEvent(event("user-1", f"{n}"), f"{n}")]) for n in range(50))
            )
            heard = (await state.user("user-1")).events
            counts = Counter(e.item_id for e in heard)
            assert all(counts[f"{n}"] == 1 for n in range(50))
            assert len(heard) < RECENT

    try:
        asyncio.run(run())
    finally:
        server.close()
