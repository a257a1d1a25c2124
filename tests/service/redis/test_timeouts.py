"""Time-outs while the event loop is busy: a reply that is in the socket counts."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
import uvloop

from service.observability.metrics import Metrics
from service.redis.batched_reader import BatchedReader
from service.redis.errors import RedisCallError
from service.redis.timeouts import LONGEST, call_patiently, patient_timeout
from service.settings import Settings
from tests.support.running.proxies import SlowProxy
from tests.support.running.servers import RunningRedis, at
from tests.support.waiting import DEADLINE, until

TIMEOUT = 0.5
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    uvloop.new_event_loop,
    asyncio.new_event_loop,
]


def block(seconds: float) -> None:
    """Keep the event loop busy."""
    time.sleep(seconds)


class HoldingProxy(SlowProxy):
    """A proxy that holds replies back while `gate` is closed."""

    def __init__(self, target_port: int) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.has_reply = threading.Event()
        self.passed_on = threading.Event()
        super().__init__(target_port, (0, 0))

    async def _reply(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        self.has_reply.set()
        await until(self.gate.is_set, "the gate")
        sink.write(data)
        await sink.drain()
        self.passed_on.set()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_reply_that_came_while_the_loop_was_busy_is_no_time_out(
    shared_redis: RunningRedis, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    proxy = HoldingProxy(shared_redis.port)
    shared_redis.client.set("greeting", b"hello")
    settings = Settings(store="unused", redis_timeout=TIMEOUT, breaker_failures=1)

    async def attempt(link: BatchedReader) -> bool:
        """Block the loop from before the reply until after the time-out; False if it was slow."""
        proxy.gate.clear()
        proxy.has_reply.clear()
        proxy.passed_on.clear()
        started = time.monotonic()
        looking_up = asyncio.create_task(link.get(b"greeting"))
        await until(lambda: proxy.has_reply.is_set() or looking_up.done(), "the reply")
        proxy.gate.set()
        if looking_up.done():
            await asyncio.gather(looking_up, return_exceptions=True)
            return False
        assert proxy.passed_on.wait(DEADLINE)  # blocks
        block(max(0.0, started + 2 * TIMEOUT - time.monotonic()))
        assert await looking_up == b"hello"
        return True

    async def run() -> None:
        metrics = Metrics()
        async with BatchedReader(at(settings, proxy.url), metrics) as link:
            await until(lambda: not link.degraded, "Redis")
            while not await attempt(link):
                await until(lambda: not link.degraded, "Redis")
            assert not link.degraded

    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run())
    finally:
        proxy.close()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_busy_loop_does_not_wait_for_ever(
    redis_server: RunningRedis, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    settings = Settings(store="unused", redis_timeout=0.05, breaker_failures=1, breaker_reset=60)

    async def run() -> None:
        async with BatchedReader(at(settings, redis_server.url), Metrics()) as link:
            await until(lambda: not link.degraded, "Redis")
            redis_server.hang()
            looking_up = asyncio.create_task(link.get(b"key"))
            while not looking_up.done():
                await asyncio.sleep(0)
                block(0.06)
            with pytest.raises(RedisCallError):
                await looking_up
            await until(lambda: link.degraded, "the breaker")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_a_timer_gives_back_what_the_loop_was_late_and_no_more() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        calls: list[float] = []
        timers = [call_patiently(loop, 0.01, lambda: calls.append(loop.time())) for _ in range(2)]
        started = loop.time()
        timers[1].cancel()
        block(0.01 + 3 * LONGEST)
        await until(lambda: calls, "the call")
        assert calls[0] - started >= 0.01 + 4 * LONGEST - 0.02
        await asyncio.sleep(0.05)
        assert len(calls) == 1

    asyncio.run(run())


def test_a_limit_that_is_reached_is_a_time_out() -> None:
    async def run() -> None:
        with pytest.raises(TimeoutError):
            async with patient_timeout(0.01):
                await asyncio.sleep(DEADLINE)
        async with patient_timeout(0.01):
            pass
        async with patient_timeout(None):
            await asyncio.sleep(0.03)
        async with patient_timeout(0.01):
            block(0.03)  # late, but what it waits for is there
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)  # its timer, which was put off, does nothing

    asyncio.run(run())
