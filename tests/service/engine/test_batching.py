"""Batched searches, on the event loop or in threads, give what single searches give."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS
from service.engine.batching import SearchBatches
from tests.support.running.service_fixtures import Published


@pytest.fixture(scope="module")
def recommender(published: Published) -> Recommender:
    return Recommender(BundleStore(published.store).load())


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("size", [1, 7, 8, 200])
def test_batched_searches_equal_single_ones(
    recommender: Recommender, threads: int, size: int
) -> None:
    rng = np.random.default_rng(size)
    users = rng.integers(0, 400, size)
    users[0] = 0  # has seen nearly all items
    ks = rng.choice([1, 20, 20, 20, 500], size)
    seen = recommender.bundle.seen
    excluded = [seen.row(u) if rng.random() < 0.8 else NO_ITEMS for u in users]
    vectors = recommender.bundle.user_vectors[users]

    async def run(pool: ThreadPoolExecutor | None) -> None:
        searches = SearchBatches(recommender, pool)
        tasks = [
            asyncio.create_task(searches.search(vector, int(k), items))
            for vector, k, items in zip(vectors, ks, excluded, strict=True)
        ]
        if size == 200:
            await asyncio.sleep(0)
            tasks[17].cancel()  # which must not disturb the others
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for position, top in enumerate(results):
            if size == 200 and position == 17:
                assert isinstance(top, asyncio.CancelledError)
                continue
            assert not isinstance(top, BaseException), repr(top)
            alone = recommender.search(
                vectors[position][None], int(ks[position]), [excluded[position]]
            )[0]
            np.testing.assert_allclose(top.scores, alone.scores, atol=1e-6)
            given = recommender.bundle.item_vectors[top.item_idx] @ vectors[position]
            np.testing.assert_allclose(given, top.scores, atol=1e-6)

    if threads:
        with ThreadPoolExecutor(threads) as pool:
            asyncio.run(run(pool))
    else:
        asyncio.run(run(None))


@pytest.mark.parametrize("threads", [0, 1])
def test_an_error_reaches_all_searches_of_a_batch(recommender: Recommender, threads: int) -> None:
    async def run(pool: ThreadPoolExecutor | None) -> None:
        searches = SearchBatches(recommender, pool)
        wrong = np.zeros(3, np.float32)
        results = await asyncio.gather(
            *(searches.search(wrong, 5, NO_ITEMS) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(result, Exception) for result in results)
        assert len({str(result) for result in results}) == 1
        right = recommender.bundle.user_vectors[3]
        assert len((await searches.search(right, 5, NO_ITEMS)).scores) == 5

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(run(pool if threads else None))
