"""Recall monitor: compares a sample of the index's results with exact search."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Semaphore

import numpy as np
from numpy.typing import NDArray

from bundle.search.options import SearchOptions
from bundle.search.recommender import Recommender
from bundle.search.topk import TopK
from service.observability.background import last_resort
from service.observability.metrics import Metrics

REMEMBERED = 100
"""Number of samples over which the gauge averages, roughly."""


class RecallMonitor:
    """Recall of a sample of the searches in one index.

    Args:
        share: fraction of searches that are compared, 0 … 1.
        pool: threads for exact search; one comparison at a time.
        metrics: receive the recall.
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
        options: SearchOptions,
        top: TopK,
    ) -> None:
        """Compare the result of a search if it is drawn and the index was used."""
        if not recommender.is_indexed(options.allowed):
            return
        if self._random.random() >= self._share or not self._free.acquire(blocking=False):
            return
        submitted = False
        with last_resort("recall_monitor", self._metrics):  # no thread, or the pool is closed
            self._pool.submit(
                self._measure,
                partial(recommender.recall, vector, options.excluded, options.allowed, top),
            )
            submitted = True
        if not submitted:
            self._free.release()

    def _measure(self, recall: Callable[[], float]) -> None:
        with last_resort("recall_monitor", self._metrics):
            found = recall()
            self._samples += 1
            self._mean += (found - self._mean) / min(self._samples, REMEMBERED)
            self._metrics.recall_monitor.set(self._mean)
            self._metrics.recall_samples.inc()
        self._free.release()
