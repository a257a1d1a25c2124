"""Who goes away in the middle of a request leaves nothing behind for the next one."""

import asyncio
import json
import random

import numpy as np
import pytest
from conftest import Published, StartService
from proxies import SlowProxy
from servers import RunningRedis, RunningService, at, wait_until

from service.metrics import Metrics
from service.redis_cache import RedisVectorCache
from service.redis_link import RedisLink
from service.settings import Settings
from service.user_vectors import UserVectors
from service.vector_cache import CacheError

CLIENTS = 1000
GIVE_UP = 0.3


async def one_client(
    service: RunningService, published: Published, user_id: str, rng: random.Random
) -> dict | None:
    """The answer, or None if the client broke the connection off while it waited."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(f"GET /recommend/{user_id} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await writer.drain()
        if rng.random() < GIVE_UP:
            await asyncio.sleep(rng.uniform(0, 0.02))
            return None
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        answer: dict = json.loads(await reader.readexactly(length))
    finally:
        writer.transport.abort()
    assert answer["user_id"] == user_id
    published.check(answer)
    return answer


@pytest.mark.parametrize(
    ("redis_timeout", "delay"), [(5.0, (0.002, 0.03)), (0.03, (0.001, 0.06))], ids=["slow", "late"]
)
def test_a_storm_of_clients_that_go_away(
    start: StartService,
    redis_server: RunningRedis,
    published: Published,
    redis_timeout: float,
    delay: tuple[float, float],
) -> None:
    users = [user for user in published.known if user.startswith("user-")][2:302]
    filling = start(redis_url=redis_server.url, redis_timeout=5)
    for user_id in users:
        filling.get(f"/recommend/{user_id}")
    wait_until(lambda: redis_server.client.dbsize() == len(users), "the vectors in Redis")

    proxy = SlowProxy(redis_server.port, delay)
    service = start(
        redis_url=proxy.url,
        redis_timeout=redis_timeout,
        vector_cache_size=1,
        breaker_failures=1_000_000,
        max_concurrency=1000,
    )
    rng = random.Random(0)

    async def storm() -> list[dict | None]:
        asked = [users[n % len(users)] for n in range(CLIENTS)]
        rng.shuffle(asked)
        return await asyncio.gather(*(one_client(service, published, u, rng) for u in asked))

    try:
        answers = [a for a in asyncio.run(storm()) if a is not None]
        assert CLIENTS * 0.6 < len(answers) < CLIENTS * 0.8
        if redis_timeout > 1:
            assert all((a["cache"], a["degraded"]) == ("hit", False) for a in answers)
        # The digest would recognise another user's row: there was none to be recognised.
        assert service.metric("redis_errors_total", kind="corrupt") == 0
        assert service.metric("redis_errors_total", kind="reply") == 0
        assert service.metric("requests_in_flight") == 1
        # And those connections still work.
        for user_id in users[:50]:
            published.check(service.get(f"/recommend/{user_id}").json())
        assert service.terminate() == 0
    finally:
        proxy.close()


def test_cancelled_look_ups_in_the_process(
    redis_server: RunningRedis, published: Published
) -> None:
    """As above with real cancellations: a server may cancel the task of a request."""
    contents = published.contents
    users = contents.users.ids[:300]
    settings = Settings(
        store=published.store, redis_timeout=5, breaker_failures=1_000_000, redis_pool_size=3
    )
    metrics = Metrics()
    rng = random.Random(1)

    async def run(url: str) -> None:
        async with RedisLink(at(settings, url), metrics) as link:
            cache = RedisVectorCache(link, "v1", 16, settings, metrics)
            vectors = UserVectors(contents.user_vectors, None, cache, metrics)
            alone = await cache.get("nobody")
            assert alone is None
            for user_idx, user_id in enumerate(users):
                cache.put(user_id, contents.user_vectors[user_idx])
            await asyncio.to_thread(
                wait_until, lambda: redis_server.client.dbsize() == len(users), "the writes"
            )

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
                    if rng.random() < GIVE_UP:
                        rng.choice(tasks[-20:]).cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                cancelled = sum(isinstance(r, asyncio.CancelledError) for r in results)
                assert cancelled > 50
                assert results.count(None) == len(results) - cancelled, set(map(repr, results))

    proxy = SlowProxy(redis_server.port, (0.001, 0.01))
    try:
        asyncio.run(run(proxy.url))
    finally:
        proxy.close()


def test_a_flood_is_read_in_few_round_trips(
    redis_server: RunningRedis, published: Published
) -> None:
    settings = Settings(store=published.store, redis_timeout=5)
    metrics = Metrics()

    async def run() -> None:
        async with RedisLink(at(settings, redis_server.url), metrics) as link:
            vectors = UserVectors(
                published.contents.user_vectors,
                None,
                RedisVectorCache(link, "v2", 16, settings, metrics),
                metrics,
            )
            before = redis_server.client.info("commandstats")["cmdstat_mget"]["calls"]
            # 200 look-ups of 20 users: each is on its way once.
            found = await asyncio.gather(
                *(vectors.get(published.contents.users[n % 20], n % 20) for n in range(200))
            )
            assert len(found) == 200
            after = redis_server.client.info("commandstats")["cmdstat_mget"]["calls"]
            assert after - before == 1
            assert metrics.redis_lookups["miss"]._value.get() == 20

    asyncio.run(run())


def test_a_look_up_ends_in_time_even_if_redis_hangs(
    redis_server: RunningRedis, published: Published
) -> None:
    settings = Settings(store=published.store, redis_timeout=0.2, breaker_reset=0.1)

    async def run() -> None:
        async with RedisLink(at(settings, redis_server.url), Metrics()) as link:
            redis_server.hang()
            loop = asyncio.get_running_loop()
            started = loop.time()
            results = await asyncio.gather(
                *(link.get(b"%d" % n) for n in range(500)), return_exceptions=True
            )
            assert loop.time() - started < 1
            assert all(isinstance(r, CacheError) for r in results)
            redis_server.resume()
            await asyncio.to_thread(wait_until, lambda: not link.degraded, "the probe")
            assert await link.get(b"1") is None

    asyncio.run(run())
