"""Look-ups of user vectors in Redis, many at once and some of them cancelled."""

import asyncio
import random

import numpy as np

from service.cache.redis import RedisVectorCache
from service.cache.user_vectors import UserVectors
from service.observability.metrics import Metrics
from service.redis.batched_reader import BatchedReader
from service.settings import Settings
from tests.support.running.proxies import SlowProxy
from tests.support.running.servers import RunningRedis, at
from tests.support.running.service_fixtures import Published
from tests.support.waiting import until

CANCELLED = 0.3
"""Share of the look-ups that are cancelled."""


def test_cancelled_look_ups_disturb_no_others(
    redis_server: RunningRedis, published: Published
) -> None:
    """The server cancels the task of a request; other look-ups get their own vectors."""
    contents = published.contents
    users = contents.users.ids[:300]
    settings = Settings(
        store=str(published.store), redis_timeout=60, breaker_failures=1_000_000, redis_pool_size=3
    )
    metrics = Metrics()
    rng = random.Random(1)

    async def run(url: str) -> None:
        async with BatchedReader(at(settings, url), metrics) as link:
            cache = RedisVectorCache(link, "v1", 16, settings, metrics)
            vectors = UserVectors(contents.user_vectors, None, cache, metrics)
            alone = await cache.get("nobody")
            assert alone is None
            for user_idx, user_id in enumerate(users):
                cache.put(user_id, contents.user_vectors[user_idx])
            await until(lambda: redis_server.client.dbsize() > len(users), "the writes")

            async def direct(user_idx: int) -> None:
                vector = await cache.get(users[user_idx])
                assert vector is not None
                np.testing.assert_array_equal(vector, contents.user_vectors[user_idx])

            async def layered(user_idx: int) -> None:
                found = await vectors.get(users[user_idx], user_idx)
                assert (found.cached, found.degraded) == (True, False)
                np.testing.assert_array_equal(found.vector, contents.user_vectors[user_idx])

            for look_up in (direct, layered):
                tasks = []
                for n in range(600):
                    tasks.append(asyncio.create_task(look_up(n % len(users))))
                    if rng.random() < 0.2:
                        await asyncio.sleep(0.001)
                    if rng.random() < CANCELLED:
                        rng.choice([t for t in tasks[-20:] if not t.done()]).cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                cancelled = sum(isinstance(r, asyncio.CancelledError) for r in results)
                assert cancelled > 50
                assert results.count(None) == len(results) - cancelled, set(map(repr, results))

    proxy = SlowProxy(redis_server.port, (0.001, 0.01))
    try:
        asyncio.run(run(proxy.url))
    finally:
        proxy.close()


def test_look_ups_at_once_share_a_round_trip(
    redis_server: RunningRedis, published: Published
) -> None:
    settings = Settings(store=str(published.store), redis_timeout=60)
    metrics = Metrics()

    async def run() -> None:
        async with BatchedReader(at(settings, redis_server.url), metrics) as link:
            vectors = UserVectors(
                published.contents.user_vectors,
                None,
                RedisVectorCache(link, "v2", 16, settings, metrics),
                metrics,
            )
            before = redis_server.client.info("commandstats")["cmdstat_mget"]["calls"]
            # 200 look-ups of 20 users, with one request to Redis for each user.
            found = await asyncio.gather(
                *(vectors.get(published.contents.users[n % 20], n % 20) for n in range(200))
            )
            assert len(found) == 200
            after = redis_server.client.info("commandstats")["cmdstat_mget"]["calls"]
            assert after - before == 1
            assert metrics.redis_lookups["miss"]._value.get() == 20

    asyncio.run(run())
