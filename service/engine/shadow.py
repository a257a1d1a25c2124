"""Shadow: a sample of requests is also answered by another bundle, for comparison only."""

import asyncio
import random
from time import perf_counter

from bundle.search.topk import TopK
from service.engine.engine import Engine
from service.observability.logs import LOGGER
from service.observability.metrics import Metrics
from service.schemas.recommend import UserQuery

MAX_AT_A_TIME = 8
"""Maximum number of concurrent comparisons, so that they do not slow down requests."""


class Shadow:
    """Compares answers with those of another bundle, off the request's path.

    Args:
        version: version of the other bundle.
        share: fraction of requests that are compared, 0 … 1.
        metrics: receive overlap and time.
    """

    def __init__(self, version: str, share: float, metrics: Metrics) -> None:
        self.version = version
        self._share = share
        self._metrics = metrics
        self._random = random.Random()
        self._running: set[asyncio.Task[None]] = set()

    def sample(
        self, engine: Engine, user_id: str, query: UserQuery, answered: Engine, top: TopK
    ) -> None:
        """Compare an answer if it is drawn.

        Args:
            engine: engine of the other bundle.
            user_id, query: user and parameters of the request.
            answered: engine that answered.
            top: its results.
        """
        if self._random.random() >= self._share or len(self._running) >= MAX_AT_A_TIME:
            return
        served = [answered.catalogue.item_id(row) for row in top.item_idx.tolist()]
        task = asyncio.create_task(self._compare(engine, user_id, query, served))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _compare(
        self, engine: Engine, user_id: str, query: UserQuery, served: list[str]
    ) -> None:
        started = perf_counter()
        try:
            _, _, top = await engine.rank(user_id, query)
        except Exception:
            LOGGER.exception("shadow_failed", bundle_version=self.version)
            self._metrics.shadow_failures.inc()
            return
        self._metrics.shadow_seconds.observe(perf_counter() - started)
        self._metrics.shadow_overlap.observe(overlap(engine, top, served))


def overlap(engine: Engine, top: TopK, served: list[str]) -> float:
    """Share of the served items that the other bundle also returns; 1 if none were served."""
    if not served:
        return 1.0
    others = {engine.catalogue.item_id(row) for row in top.item_idx.tolist()}
    return len(others.intersection(served)) / len(served)
