"""A service whose bundle has an index with inverted lists, which is searched in threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import bundle.format.index
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """A bundle with inverted lists, which are made for 50,000 items without the patch."""
    contents = make_contents(300, 4000, 16, rng=np.random.default_rng(3))
    store = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle.format.index, "EXACT_BELOW", 1000)
        yield Published(store, contents, BundleStore(store).publish(contents))


@pytest.mark.slow
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
            items = [large.item_row(item["item_id"]) for item in answer["items"]]
            assert not set(items) & set(seen.tolist())
            given = [item["score"] for item in answer["items"]]
            np.testing.assert_allclose(given, scores[items], atol=1e-5)
            scores[seen] = -9
            found += np.sum(np.array(given) >= np.sort(scores)[-20] - 1e-5)
        assert found / 2000 > 0.95
        assert len(service.get("/similar/item-5").json()["items"]) == 20
    finally:
        service.close()
