"""Work in the background: whatever it raises is logged, counted, and does not end it.

Nobody waits for such work, so an exception that ended it would go unnoticed until something is
missed. The chart's alert `DRepMRecBackgroundWork` watches both metrics.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from time import time

from service.observability.logs import LOGGER
from service.observability.metrics import Metrics

PAUSE = 1.0
"""Time before work that failed is tried again, in seconds, in addition to its interval."""


@contextlib.contextmanager
def last_resort(name: str, metrics: Metrics) -> Iterator[None]:
    """Log and count any exception of the `with` block, and go on after it.

    Args:
        name: of the work, for the log and the metric.
        metrics: count it.
    """
    try:
        yield
    except Exception:
        metrics.background_failures.labels(name).inc()
        with contextlib.suppress(Exception):  # a log that cannot be written is no reason to end
            LOGGER.exception("background_work_failed", work=name)


class BackgroundLoop:
    """Work that is repeated until `close`. It starts with its construction.

    Args:
        name: of the work, for the log and the metrics.
        work: one round.
        metrics: count failures and say when the next round is due.
        seconds: time before each round; 0 for work that waits for something itself.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[object]], metrics: Metrics, seconds: float = 0
    ) -> None:
        self._name = name
        self._work = work
        self._metrics = metrics
        self._seconds = seconds
        metrics.background_failures.labels(name)  # with 0, or its first failure is no increase
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End it, in the middle of a round if need be."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._count_down()
        # Asked each time: before Python 3.12 `asyncio.wait_for` can lose a cancellation.
        while not me.cancelling():
            await asyncio.sleep(self._seconds)
            done = False
            with last_resort(self._name, self._metrics):
                try:
                    await self._work()
                    done = True
                except asyncio.CancelledError:
                    if me.cancelling():
                        raise
                    # Something that the work waited for was cancelled, not the work.
                    raise RuntimeError("what the work waited for was cancelled") from None
            if done:
                self._count_down()
            else:
                await asyncio.sleep(PAUSE)

    def _count_down(self) -> None:
        if self._seconds:
            self._metrics.background_due.labels(self._name).set(time() + self._seconds)
