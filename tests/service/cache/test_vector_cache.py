"""One contract for both caches of user vectors, and the limits of each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from time import time

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.events.keys import Keys
from service.cache.redis import RedisVectorCache
from service.cache.user_vectors import LocalVectorCache
from service.observability.metrics import Metrics
from service.redis.batched_reader import BatchedReader
from service.settings import Settings
from tests.support.running.servers import RunningRedis, at
from tests.support.waiting import until

Cache = LocalVectorCache | RedisVectorCache
DIM = 16
CACHES = ["local", "redis"]


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RunningRedis]:
    running = RunningRedis()
    yield running
    running.close()


@asynccontextmanager
async def opened(kind: str, redis: RunningRedis, version: str = "v1") -> AsyncIterator[Cache]:
    if kind == "local":
        yield LocalVectorCache(100)
        return
    settings = Settings(store="x", redis_timeout=60)
    async with BatchedReader(at(settings, redis.url), Metrics()) as link:
        yield RedisVectorCache(link, version, DIM, settings, Metrics())


async def appears(cache: Cache, user_id: str) -> NDArray[np.float32]:
    """The vector of a user, once it is written."""
    found: list[NDArray[np.float32]] = []

    async def is_there() -> bool:
        vector = await cache.get(user_id)
        found.extend([] if vector is None else [vector])
        return vector is not None

    await until(is_there, f"a vector of {user_id}")
    return found[0]


async def keeps_what_it_is_given(cache: Cache) -> None:
    rng = np.random.default_rng(0)
    for user_id in ("a", "b/ü 🙂\n", "x" * 256):
        assert await cache.get(user_id) is None
        vector = rng.standard_normal(DIM).astype(np.float32)
        cache.put(user_id, vector)
        found = await appears(cache, user_id)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, vector)


async def keeps_the_last_one(cache: Cache) -> None:
    for number in range(3):
        cache.put("again", np.full(DIM, number, np.float32))

    async def last_one() -> bool:
        return bool((await appears(cache, "again"))[0] == 2)

    await until(last_one, "the last vector")


async def takes_rows_of_a_memory_map(cache: Cache) -> None:
    rows = np.asfortranarray(np.random.default_rng(1).random((3, DIM), np.float32))
    cache.put("row", rows[1])
    np.testing.assert_array_equal(await appears(cache, "row"), rows[1])


async def is_not_degraded(cache: Cache) -> None:
    assert cache.degraded is False


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize(
    "behaviour",
    [keeps_what_it_is_given, keeps_the_last_one, takes_rows_of_a_memory_map, is_not_degraded],
)
def test_contract(
    kind: str,
    behaviour: Callable[[Cache], Awaitable[None]],
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


def test_the_least_recently_used_vector_is_dropped_first() -> None:
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
        settings = Settings(store="x", redis_timeout=60, redis_write_queue=5)
        metrics = Metrics()
        async with BatchedReader(at(settings, shared_redis.url), metrics) as link:
            for number in range(12):
                link.write("SET", b"k%d" % number, b"v")
            assert metrics.redis_writes.labels("dropped")._value.get() == 7
            written = metrics.redis_writes.labels("written")
            await until(lambda: written._value.get() == 5, "the writes")

    asyncio.run(run())


def test_a_vector_that_waits_to_be_written_is_forgotten(shared_redis: RunningRedis) -> None:
    """The erasure came before the write, and could not find the vector."""
    shared_redis.client.flushdb()

    async def run() -> None:
        async with opened("redis", shared_redis) as cache:
            assert isinstance(cache, RedisVectorCache)
            for user_id in ("erased", "other"):
                cache.put(user_id, np.zeros(DIM, np.float32))
            cache.forget("erased")
            cache.put("last", np.zeros(DIM, np.float32))
            await appears(cache, "last")
            assert await cache.get("erased") is None
            assert await cache.get("other") is not None

    asyncio.run(run())


def test_no_vector_is_written_whose_version_is_not_recorded(shared_redis: RunningRedis) -> None:
    """An erasure would not find it."""
    shared_redis.client.flushdb()
    key = Keys("default").versions

    async def run() -> None:
        settings = Settings(store="x", redis_timeout=60, redis_write_queue=1)
        async with BatchedReader(at(settings, shared_redis.url), Metrics()) as link:
            cache = RedisVectorCache(link, "v1", DIM, settings, Metrics())
            link.write("SET", "first", b"")
            cache.put("user", np.zeros(DIM, np.float32))
            await until(lambda: shared_redis.client.exists("first"), "the first write")
            assert shared_redis.client.keys() == [b"first"]

    asyncio.run(run())

    async def run_with_space() -> None:
        async with opened("redis", shared_redis) as cache:
            cache.put("user", np.zeros(DIM, np.float32))
            await appears(cache, "user")
        [version] = shared_redis.client.zrange(key, 0, -1)
        [vector] = shared_redis.client.scan_iter("*user_vector*")
        assert version == b"v1"
        until_time = shared_redis.client.zscore(key, "v1")
        assert until_time is not None
        assert until_time >= time() + shared_redis.client.ttl(vector) - 1

    asyncio.run(run_with_space())
