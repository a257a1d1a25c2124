"""Concurrency limiter. Above the limit a request waits for its turn, but not for long."""

import asyncio

from prometheus_client import Counter

from service.errors import OverloadedError


class ConcurrencyLimiter:
    """Limit of requests in progress; `async with` it around the work.

    Requests above the limit wait in the order of their arrival. What is limited for them is time,
    not number: a thousand requests of 0.1 ms are answered within 0.1 s, and refusing them would
    cost as much as answering them.

    Args:
        limit: maximum number of requests in progress.
        max_wait: maximum time that a request waits for its turn, s; 0 refuses it at once.
        shed: counter of refused requests.
    """

    def __init__(self, limit: int, max_wait: float, shed: Counter) -> None:
        self._limit = limit
        self._places = asyncio.Semaphore(limit)
        self._max_wait = max_wait
        self._shed = shed

    async def __aenter__(self) -> None:
        """Enter.

        Raises:
            OverloadedError: the request's turn did not come in time.
        """
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._max_wait):
                await self._places.acquire()
        except TimeoutError:
            self._shed.inc()
            raise OverloadedError(
                f"{self._limit} requests are in progress; try again in a moment"
            ) from None

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        self._places.release()
