"""Searches done together, on the event loop or in threads, are the searches done alone."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bundle_builders import make_contents
from conftest import Published
from servers import RunningService

import bundle.index
from bundle.overlay import NO_ITEMS
from bundle.recommender import Recommender
from bundle.store import BundleStore
from service.search_batches import SearchBatches


@pytest.fixture(scope="module")
def recommender(published: Published) -> Recommender:
    return Recommender(BundleStore(published.store).load())


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("size", [1, 7, 8, 200])
def test_together_as_alone(recommender: Recommender, threads: int, size: int) -> None:
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
            tasks[17].cancel()  # who goes away does not disturb the others
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
def test_an_error_reaches_all_who_wait(recommender: Recommender, threads: int) -> None:
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


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """A bundle with inverted lists, which would take 50,000 items otherwise."""
    contents = make_contents(300, 4000, 16, rng=np.random.default_rng(3))
    store = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle.index, "EXACT_BELOW", 1000)
        yield Published(store, contents, BundleStore(store).publish(contents))


def test_a_large_catalogue_is_searched_in_threads(large: Published, tmp_path: Path) -> None:
    service = RunningService(large.store, tmp_path / "log")
    try:
        assert service.get("/info").json()["bundle"]["index"] == "ivf"
        users = large.known[10:110]
        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(lambda user: service.get(f"/recommend/{user}"), users))
        found = 0
        for user_id, response in zip(users, responses, strict=True):
            answer = response.json()
            scores = large.scores(user_id)
            seen = large.contents.seen.row(int(user_id[5:]))
            items = [large.contents.items.get(item["item_id"]) for item in answer["items"]]
            assert not set(items) & set(seen.tolist())
            given = [item["score"] for item in answer["items"]]
            np.testing.assert_allclose(given, scores[items], atol=1e-5)
            scores[seen] = -9
            found += np.sum(np.array(given) >= np.sort(scores)[-20] - 1e-5)
        assert found / 2000 > 0.95
        assert len(service.get("/similar/item-5").json()["items"]) == 20
    finally:
        service.close()
