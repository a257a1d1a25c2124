"""Concurrency limiter. Above the limit a request waits for its turn, but not for long."""

import asyncio
from collections import deque
from typing import Protocol

from prometheus_client import Counter

from service.errors import OverloadedError

HAS_PLACE = "drepmrec.has_place"
"""Key in the scope of requests that have a place already, since before they were parsed."""


class Waiter(Protocol):
    """A request that waits for its turn."""

    def start(self) -> bool:
        """Start it, with a place; False if it no longer waits."""

    def refuse(self) -> bool:
        """Refuse it: its turn did not come in time; False if it no longer waits."""


class ConcurrencyLimiter:
    """Limit of requests in progress: `async with` it around the work, or `enter` and `leave`.

    Requests above the limit wait in the order of their arrival. What is limited for them is time,
    not number: a thousand requests of 0.1 ms are answered within 0.1 s, and refusing them would
    cost as much as answering them.

    Args:
        limit: maximum number of requests in progress.
        max_wait: maximum time that a request waits for its turn, s; 0 refuses it at once.
        shed: counter of refused requests.
    """

    def __init__(self, limit: int, max_wait: float, shed: Counter) -> None:
        self.max_wait = max_wait
        self.message = f"{limit} requests are in progress; try again in a moment"
        self._free = limit
        self._shed = shed
        self._waiting: deque[tuple[float, Waiter]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, waiter: Waiter) -> bool:
        """True if a request may start, with a place; otherwise it is started or refused later."""
        if self._free:
            self._free -= 1
            return True
        loop = asyncio.get_running_loop()
        due = loop.time() + self.max_wait
        self._waiting.append((due, waiter))
        if self._timer is None:
            self._timer = loop.call_at(due, self._refuse_late)
        return False

    def leave(self) -> None:
        """Give the place of a request to the one that has waited longest."""
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if waiter.start():
                return
        self._free += 1

    async def __aenter__(self) -> None:
        """Enter.

        Raises:
            OverloadedError: the request's turn did not come in time.
        """
        turn = _Turn(self.message)
        if not self.enter(turn):
            try:
                await turn.came
            except asyncio.CancelledError:
                if turn.came.done() and not turn.came.cancelled():  # at the same moment
                    self.leave()
                raise

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        self.leave()

    def _refuse_late(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting:
            due, waiter = self._waiting[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self._refuse_late)
                return
            self._waiting.popleft()
            if waiter.refuse():
                self._shed.inc()


class _Turn:
    """The turn of a request that has been parsed."""

    def __init__(self, message: str) -> None:
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._message = message

    def start(self) -> bool:
        if self.came.done():  # cancelled
            return False
        self.came.set_result(None)
        return True

    def refuse(self) -> bool:
        if self.came.done():
            return False
        self.came.set_exception(OverloadedError(self._message))
        return True
