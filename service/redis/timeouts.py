"""Time-outs of Redis that do not count the time in which the event loop was busy.

uvloop runs timers that are due before it reads sockets. After a turn that took longer than a
time-out, each call would seem to have failed, although its reply has long been in the socket, and a
few of them open the circuit breaker. So a timer that is late gives its delay back once, and the
loop reads meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import connection

TOLERATED = 0.002
"""Delay of a timer that is no sign of a busy loop, in seconds; uvloop's clock counts in ms."""
LONGEST = 0.1
"""Maximum time that is given back, in seconds: a process that was suspended gets no more."""


def call_patiently(
    loop: asyncio.AbstractEventLoop, seconds: float, expire: Callable[..., object], *arguments: Any
) -> asyncio.TimerHandle:
    """`loop.call_later`, a little later if the loop was busy at that moment.

    A call that was put off like that cannot be cancelled any more.
    """
    when = loop.time() + seconds
    return loop.call_later(seconds, _due, loop, when, expire, arguments)


def _due(
    loop: asyncio.AbstractEventLoop,
    when: float,
    expire: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    late = loop.time() - when
    if late <= TOLERATED:
        expire(*arguments)
    else:
        loop.call_later(min(late, LONGEST), expire, *arguments)


@asynccontextmanager
async def patient_timeout(seconds: float | None) -> AsyncIterator[asyncio.Timeout]:
    """`asyncio.timeout` with such a timer; None for no limit.

    Raises:
        TimeoutError: the block takes longer.
    """
    async with asyncio.timeout(None) as limit:
        if seconds is None:
            yield limit
            return
        timer = call_patiently(asyncio.get_running_loop(), seconds, _end, limit)
        try:
            yield limit
        finally:
            timer.cancel()


def _end(limit: asyncio.Timeout) -> None:
    with suppress(RuntimeError):  # the block has ended meanwhile
        limit.reschedule(0)


# redis-py has no option for it. All its kinds of connections connect and read in this function.
connection.async_timeout = patient_timeout  # type: ignore[assignment, attr-defined]
