"""Concurrency limiter: turns in the order of arrival, refusals, cancelled requests."""

import asyncio

import pytest
from prometheus_client import Counter

from service.errors import OverloadedError
from service.limiter import ConcurrencyLimiter

LONG = 60.0
"""Time to wait for a turn, s, that no test reaches."""


def new_limiter(limit: int, max_wait: float) -> tuple[ConcurrencyLimiter, Counter]:
    shed = Counter("shed", "-", registry=None)
    return ConcurrencyLimiter(limit, max_wait, shed), shed


def test_requests_above_the_limit_wait_in_the_order_of_their_arrival() -> None:
    async def run() -> None:
        limiter, _ = new_limiter(2, LONG)
        started: list[int] = []
        leave = [asyncio.Event() for _ in range(5)]

        async def one(number: int) -> None:
            async with limiter:
                started.append(number)
                await leave[number].wait()

        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(one(number))
            await asyncio.sleep(0.01)
            for number in range(5):
                assert started == list(range(min(number + 2, 5)))
                leave[number].set()
                await asyncio.sleep(0.01)
        assert started == [0, 1, 2, 3, 4]

    asyncio.run(run())


@pytest.mark.parametrize("max_wait", [0.0, 0.01])
def test_a_request_whose_turn_does_not_come_is_refused(max_wait: float) -> None:
    async def run() -> None:
        limiter, shed = new_limiter(1, max_wait)
        async with limiter:
            with pytest.raises(OverloadedError, match="1 requests are in progress"):
                async with limiter:
                    pass
        async with limiter:  # the refused one took no place
            pass
        assert next(iter(shed.collect())).samples[0].value == 1

    asyncio.run(run())


def test_a_request_that_is_cancelled_while_it_waits_gives_its_turn_up() -> None:
    async def run() -> None:
        limiter, _ = new_limiter(1, LONG)

        async def one() -> str:
            async with limiter:
                return "done"

        async with limiter:
            waiting = [asyncio.create_task(one()) for _ in range(3)]
            await asyncio.sleep(0.01)
            waiting[0].cancel()
        assert await asyncio.gather(*waiting[1:]) == ["done", "done"]
        assert await one() == "done"

    asyncio.run(run())


class Connection:
    """A request that has not been parsed."""

    def __init__(self, started: list[str]) -> None:
        self.waits = True
        self.started = started
        self.was_refused = False

    def start(self) -> bool:
        if self.waits:
            self.started.append("unparsed")
        return self.waits

    def refuse(self) -> bool:
        self.was_refused = True
        return self.waits


def test_requests_before_and_after_parsing_share_one_limit_and_one_queue() -> None:
    async def run() -> None:
        limiter, _ = new_limiter(1, LONG)
        started: list[str] = []
        gone, waiting = Connection(started), Connection(started)

        async def parsed(name: str) -> None:
            async with limiter:
                started.append(name)

        assert limiter.enter(Connection(started))
        tasks = [asyncio.create_task(parsed("first"))]
        await asyncio.sleep(0.01)
        assert not limiter.enter(gone)
        assert not limiter.enter(waiting)
        tasks.append(asyncio.create_task(parsed("last")))
        await asyncio.sleep(0.01)
        gone.waits = False
        assert not started
        limiter.leave()
        await tasks[0]
        assert started == ["first", "unparsed"]
        limiter.leave()
        await tasks[1]
        assert started == ["first", "unparsed", "last"]

    asyncio.run(run())


def test_only_requests_that_still_wait_count_as_refused() -> None:
    async def run() -> None:
        limiter, shed = new_limiter(1, 0.0)
        assert limiter.enter(Connection([]))
        gone, waiting = Connection([]), Connection([])
        gone.waits = False
        assert not limiter.enter(gone)
        assert not limiter.enter(waiting)
        await asyncio.sleep(0.05)
        assert waiting.was_refused
        assert next(iter(shed.collect())).samples[0].value == 1

    asyncio.run(run())
