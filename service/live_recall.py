"""Live recall: a sample of the index's answers is compared with exact search, off the path."""

import random
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore

import numpy as np
from numpy.typing import NDArray

from bundle.recommender import Recommender
from bundle.topk import TopK
from service.metrics import Metrics
from service.wishes import Wishes

REMEMBERED = 100
"""Samples that the gauge is about the mean of."""


class LiveRecall:
    """Samples searches of one index.

    Args:
        share: of the searches, 0 … 1.
        pool: threads for exact search; one comparison at a time.
        metrics: where recall goes.
    """

    def __init__(self, share: float, pool: ThreadPoolExecutor, metrics: Metrics) -> None:
        self._share = share
        self._pool = pool
        self._metrics = metrics
        self._random = random.Random()
        self._free = Semaphore()
        self._mean = 0.0
        self._samples = 0

    def sample(
        self,
        recommender: Recommender,
        vector: NDArray[np.float32],
        wishes: Wishes,
        top: TopK,
    ) -> None:
        """Perhaps compare the result of a search."""
        if self._random.random() < self._share and self._free.acquire(blocking=False):
            self._pool.submit(self._compare, recommender, vector, wishes, top)

    def _compare(
        self,
        recommender: Recommender,
        vector: NDArray[np.float32],
        wishes: Wishes,
        top: TopK,
    ) -> None:
        try:
            recall = recommender.recall(vector, wishes.excluded, wishes.allowed, top)
            self._samples += 1
            self._mean += (recall - self._mean) / min(self._samples, REMEMBERED)
            self._metrics.live_recall.set(self._mean)
            self._metrics.recall_samples.inc()
        finally:
            self._free.release()
