"""What every `UserVectorCache` must do, and the small parts below it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from servers import RunningRedis, at, wait_until

from bundle.vector_codec import decode_vector, encode_vector
from service.breaker import Breaker, State
from service.metrics import Metrics
from service.redis_cache import RedisVectorCache
from service.redis_link import RedisLink
from service.settings import Settings
from service.vector_cache import LocalVectorCache, UserVectorCache

DIM = 16
CACHES = ["local", "redis"]


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RunningRedis]:
    running = RunningRedis()
    yield running
    running.close()


@asynccontextmanager
async def opened(
    kind: str, redis: RunningRedis, version: str = "v1"
) -> AsyncIterator[UserVectorCache]:
    if kind == "local":
        yield LocalVectorCache(100)
        return
    settings = Settings(store=Path("x"), redis_timeout=5)
    async with RedisLink(at(settings, redis.url), Metrics()) as link:
        yield RedisVectorCache(link, version, DIM, settings, Metrics())


async def appears(cache: UserVectorCache, user_id: str) -> NDArray[np.float32]:
    for _ in range(500):
        vector = await cache.get(user_id)
        if vector is not None:
            return vector
        await asyncio.sleep(0.01)
    raise AssertionError(f"{user_id} was put and does not appear")


async def keeps_what_it_is_given(cache: UserVectorCache) -> None:
    rng = np.random.default_rng(0)
    for user_id in ("a", "b/ü 🙂\n", "x" * 256):
        assert await cache.get(user_id) is None
        vector = rng.standard_normal(DIM).astype(np.float32)
        cache.put(user_id, vector)
        found = await appears(cache, user_id)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, vector)


async def keeps_the_last_one(cache: UserVectorCache) -> None:
    for number in range(3):
        cache.put("again", np.full(DIM, number, np.float32))
    for _ in range(500):
        if (await appears(cache, "again"))[0] == 2:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("an old vector stays")


async def takes_rows_of_a_memory_map(cache: UserVectorCache) -> None:
    rows = np.asfortranarray(np.random.default_rng(1).random((3, DIM), np.float32))
    cache.put("row", rows[1])
    np.testing.assert_array_equal(await appears(cache, "row"), rows[1])


async def is_not_degraded(cache: UserVectorCache) -> None:
    assert cache.degraded is False


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize(
    "behaviour",
    [keeps_what_it_is_given, keeps_the_last_one, takes_rows_of_a_memory_map, is_not_degraded],
)
def test_contract(
    kind: str,
    behaviour: Callable[[UserVectorCache], Awaitable[None]],
    shared_redis: RunningRedis,
) -> None:
    shared_redis.client.flushdb()

    async def run() -> None:
        async with opened(kind, shared_redis) as cache:
            await behaviour(cache)

    asyncio.run(run())


def test_versions_do_not_mix(shared_redis: RunningRedis) -> None:
    async def run() -> None:
        async with (
            opened("redis", shared_redis, "v1") as old,
            opened("redis", shared_redis, "v2") as new,
        ):
            old.put("somebody", np.ones(DIM, np.float32))
            await appears(old, "somebody")
            assert await new.get("somebody") is None

    asyncio.run(run())


def test_the_least_recently_used_goes_first() -> None:
    async def run() -> None:
        cache = LocalVectorCache(2)
        for user_id in ("a", "b"):
            cache.put(user_id, np.zeros(DIM, np.float32))
        await cache.get("a")
        cache.put("c", np.zeros(DIM, np.float32))
        assert [await cache.get(u) is not None for u in ("a", "b", "c")] == [True, False, True]

    asyncio.run(run())


def test_a_full_queue_drops_writes(shared_redis: RunningRedis) -> None:
    async def run() -> None:
        settings = Settings(store=Path("x"), redis_write_queue=5)
        metrics = Metrics()
        async with RedisLink(at(settings, shared_redis.url), metrics) as link:
            for number in range(12):
                link.put(b"k%d" % number, b"v", 10)
            assert metrics.redis_writes.labels("dropped")._value.get() == 7
            written = metrics.redis_writes.labels("written")
            await asyncio.to_thread(wait_until, lambda: written._value.get() == 5, "the writes")

    asyncio.run(run())


def test_only_the_same_key_and_bytes_decode() -> None:
    vector = np.arange(DIM, dtype=np.float32)
    value = encode_vector(b"key", vector)
    decoded = decode_vector(b"key", value, DIM)
    assert decoded is not None
    np.testing.assert_array_equal(decoded, vector)
    assert decode_vector(b"other", value, DIM) is None
    assert decode_vector(b"key", value, DIM + 1) is None
    for position in range(len(value)):
        changed = bytearray(value)
        changed[position] ^= 1
        assert decode_vector(b"key", bytes(changed), DIM) is None
    for nonsense in (None, 1, "text", b"", value[:-1], value + b"x", [value]):
        assert decode_vector(b"key", nonsense, DIM) is None


def test_the_breaker_opens_probes_and_closes() -> None:
    states: list[State] = []
    breaker = Breaker(3, states.append)
    for _ in range(2):
        breaker.failure()
    breaker.success()
    for _ in range(2):
        breaker.failure()
    assert breaker.state == "closed"
    breaker.failure()
    assert breaker.state == "open"
    breaker.success()  # a call that was under way
    assert breaker.state == "open"
    breaker.probe()
    breaker.failure()
    assert breaker.state == "open"
    breaker.probe()
    breaker.success()
    assert states == ["open", "half_open", "open", "half_open", "closed"]
    for _ in range(2):
        breaker.failure()
    assert breaker.state == "closed"
