"""Look-ups in a Redis that does not answer."""

import asyncio
import contextlib

from service.observability.metrics import Metrics
from service.redis.batched_reader import BatchedReader
from service.redis.errors import RedisCallError
from service.settings import Settings
from tests.support.running.servers import RunningRedis, at
from tests.support.running.service_fixtures import Published
from tests.support.waiting import until

AT_ONCE = 50.0
"""Half of the seconds that the 500 look-ups would take one after another."""


def test_a_look_up_ends_in_time_even_if_redis_hangs(
    redis_server: RunningRedis, published: Published
) -> None:
    settings = Settings(store=str(published.store), redis_timeout=0.2, breaker_reset=0.1)

    async def run() -> None:
        async with BatchedReader(at(settings, redis_server.url), Metrics()) as link:
            redis_server.hang()
            loop = asyncio.get_running_loop()
            started = loop.time()
            results = await asyncio.gather(
                *(link.get(b"%d" % n) for n in range(500)), return_exceptions=True
            )
            assert loop.time() - started < AT_ONCE
            assert all(isinstance(r, RedisCallError) for r in results)
            redis_server.resume()

            async def answered() -> bool:
                with contextlib.suppress(RedisCallError):
                    return await link.get(b"1") is None
                return False

            await until(lambda: not link.degraded, "the probe")
            await until(answered, "an answer")

    asyncio.run(run())
