"""Batches of searches: searches of the same moment are done together.

With 6,710 items × 129 columns on one core, a single search takes 192 µs, one of a batch of 16 takes
45 µs (`benchmarks/serving/exact_search.py`). No search waits for others: a batch is what has
arrived when the event loop has polled its sockets once more. The rounding of a matrix product
depends on its size, so scores of equal requests may differ by 1e-7.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.search.recommender import Recommender
from bundle.search.topk import TopK

MAX_TOGETHER = 64
"""Maximum number of queries of one batch: 2.4 ms of the event loop with the catalogue above."""


class _Query(NamedTuple):
    vector: NDArray[np.float32]
    k: int
    excluded: NDArray[np.int32]
    answer: asyncio.Future[TopK]


class SearchBatches:
    """Batched searches in one bundle.

    Args:
        recommender: searches.
        pool: threads for the searches; None for the event loop.
    """

    def __init__(self, recommender: Recommender, pool: Executor | None) -> None:
        self._recommender = recommender
        self._pool = pool
        self._waiting: list[_Query] = []

    def of(self, recommender: Recommender) -> "SearchBatches":
        """Batches of another recommender, in the same threads."""
        return SearchBatches(recommender, self._pool)

    async def search(
        self, vector: NDArray[np.float32], k: int, excluded: NDArray[np.int32]
    ) -> TopK:
        """Top k for a user vector [D], without the excluded item_idx."""
        loop = asyncio.get_running_loop()
        query = _Query(vector, k, excluded, loop.create_future())
        self._waiting.append(query)
        if len(self._waiting) == 1:
            # After all requests that are ready to run now and those that arrive meanwhile: the
            # event loop polls its sockets once more before the second call.
            loop.call_soon(loop.call_soon, self._start)
        return await query.answer

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), MAX_TOGETHER):
            batch = waiting[start : start + MAX_TOGETHER]
            if self._pool is None:
                done: asyncio.Future[list[TopK]] = loop.create_future()
                # An error of one query is raised in all requests of the batch.
                try:
                    done.set_result(self._search(batch))
                except Exception as error:
                    done.set_exception(error)
                _answer(batch, done)
            else:
                done = loop.run_in_executor(self._pool, self._search, batch)
                done.add_done_callback(partial(_answer, batch))

    def _search(self, batch: Sequence[_Query]) -> list[TopK]:
        by_k: dict[int, list[int]] = defaultdict(list)
        for position, query in enumerate(batch):
            by_k[query.k].append(position)
        found: dict[int, TopK] = {}
        for k, positions in by_k.items():
            vectors = np.stack([batch[position].vector for position in positions])
            excluded = [batch[position].excluded for position in positions]
            tops = self._recommender.search(vectors, k, excluded)
            found.update(zip(positions, tops, strict=True))
        return [found[position] for position in range(len(batch))]


def _answer(batch: Sequence[_Query], done: asyncio.Future[list[TopK]]) -> None:
    error = done.exception()
    for position, query in enumerate(batch):
        if query.answer.done():  # its request was cancelled
            continue
        if error is None:
            query.answer.set_result(done.result()[position])
        else:
            query.answer.set_exception(error)
