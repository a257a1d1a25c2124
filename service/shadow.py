"""Shadow: a sample of requests is also answered by another bundle, and only compared."""

import asyncio
import random
from time import perf_counter

from bundle.topk import TopK
from service.logs import LOGGER
from service.metrics import Metrics
from service.queries import UserQuery
from service.rank import rank
from service.serving import Serving

MAX_AT_A_TIME = 8
"""More are not begun: what is only looked at must not slow down what is asked for."""


class Shadow:
    """Compares answers with those of another bundle, off the request's path.

    Args:
        version: of the other bundle.
        share: of the requests, 0 … 1.
        metrics: where overlap and time go.
    """

    def __init__(self, version: str, share: float, metrics: Metrics) -> None:
        self.version = version
        self._share = share
        self._metrics = metrics
        self._random = random.Random()
        self._running: set[asyncio.Task[None]] = set()

    def sample(
        self, serving: Serving, user_id: str, query: UserQuery, answered: Serving, top: TopK
    ) -> None:
        """Perhaps compare an answer.

        Args:
            serving: the other bundle.
            user_id, query: of the request.
            answered: the bundle that answered.
            top: what it answered.
        """
        if self._random.random() >= self._share or len(self._running) >= MAX_AT_A_TIME:
            return
        served = [answered.catalogue.item_id(row) for row in top.item_idx.tolist()]
        task = asyncio.create_task(self._compare(serving, user_id, query, served))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(
        self, serving: Serving, user_id: str, query: UserQuery, served: list[str]
    ) -> None:
        started = perf_counter()
        try:
            _, _, top = await rank(serving, user_id, query)
        except Exception:
            LOGGER.exception("shadow_failed", bundle_version=self.version)
            self._metrics.shadow_failures.inc()
            return
        self._metrics.shadow_seconds.observe(perf_counter() - started)
        self._metrics.shadow_overlap.observe(overlap(serving, top, served))


def overlap(serving: Serving, top: TopK, served: list[str]) -> float:
    """Share of the served items that the other bundle's answer has, too; 1 if there are none."""
    if not served:
        return 1.0
    others = {serving.catalogue.item_id(row) for row in top.item_idx.tolist()}
    return len(others.intersection(served)) / len(served)
