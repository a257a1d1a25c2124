"""Contract of item search, for each implementation.

The catalogue has tight clusters, a user likes two of them: what is behind the items of these is far
from all lists that hold them.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import bundle.format.index
import bundle.search.list_search
from bundle.format.manifest import IndexKind
from bundle.format.reader import Bundle
from bundle.search.item_search import ItemSearch, open_item_search
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS, Floats, Rows
from tests.support.data.bundles import make_contents

N_ITEMS, DIM, CLUSTERS, USERS = 6_000, 22, 60, 40
BYTES = {"flat": None, "ivf": None, "ivf_sq8": N_ITEMS * 2 * (DIM + 8), "ivf_pq": 0}
"""Budget by kind of index."""


def clustered_vectors() -> tuple[Floats, Floats]:
    """Users [USERS, DIM], each between two of the clusters of the items [N_ITEMS, DIM]."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, DIM))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    items = centres[rng.integers(CLUSTERS, size=N_ITEMS)] * rng.uniform(0.8, 1.2, (N_ITEMS, 1))
    items += 0.05 * rng.standard_normal((N_ITEMS, DIM))
    users = centres[rng.integers(CLUSTERS, size=(USERS, 2))].sum(1)
    return users.astype(np.float32), items.astype(np.float32)


@pytest.fixture(scope="module", params=BYTES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    kind: IndexKind = request.param
    users, items = clustered_vectors()
    contents = make_contents(USERS, N_ITEMS, DIM, rng=np.random.default_rng(0), no_interactions=0)
    contents = replace(contents, user_vectors=users, item_vectors=items, item_parts=items)
    if (budget := BYTES[kind]) is not None:
        contents = replace(contents, index_budget=budget)
    store = BundleStore(tmp_path_factory.mktemp(kind))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle.format.index, "EXACT_BELOW", N_ITEMS + (kind == "flat"))
        store.publish(contents)
    found = store.load()
    assert found.manifest.index.kind == kind
    return found


@pytest.fixture(params=[False, True], ids=["as it is", "many are searched by the index"])
def few_compared(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for filters that leave hundreds, as if the catalogue were 100 times as large."""
    if request.param:
        monkeypatch.setattr(bundle.search.list_search, "COMPARED", 200)


@pytest.fixture
def search(loaded: Bundle) -> ItemSearch:
    return open_item_search(loaded)


@cache
def best() -> Rows:
    """Items of each user [USERS, N_ITEMS], the best first."""
    users, items = clustered_vectors()
    return np.argsort(-(users @ items.T), axis=1, kind="stable").astype(np.int32)


def recall(search: ItemSearch, k: int, excluded: list[Rows], allowed: Rows | None = None) -> float:
    """Mean recall of all users; what comes back must be allowed, with exact scores, descending."""
    users, items = clustered_vectors()
    shares = []
    tops = search.search(users, k, excluded, allowed)
    for user, top in enumerate(tops):
        scores = items @ users[user]
        may = np.zeros(N_ITEMS, np.bool_)
        may[slice(None) if allowed is None else allowed] = True
        may[excluded[user]] = False
        wanted = min(k, int(may.sum()))
        assert len(top.item_idx) == len(set(top.item_idx.tolist())) == wanted
        assert may[top.item_idx].all()
        np.testing.assert_allclose(top.scores, scores[top.item_idx], atol=1e-5)
        assert (np.diff(top.scores) <= 0).all()
        if wanted:
            kth = np.sort(scores[may])[-wanted]
            shares.append(float((top.scores >= kth - 1e-5).mean()))
    assert len(tops) == len(users)
    return float(np.mean(shares)) if shares else 1.0


@pytest.mark.parametrize("k", [1, 20, 300])
def test_the_best_items(search: ItemSearch, k: int) -> None:
    assert recall(search, k, [NO_ITEMS] * USERS) >= 0.98


def test_no_queries(search: ItemSearch) -> None:
    assert search.search(np.empty((0, DIM), np.float32), 20, []) == []
    assert search.search(np.empty((0, DIM), np.float32), 20, [], best()[0, :300]) == []


@pytest.mark.parametrize("seen", [1, 20, 60, 101, 200, 400, 600, 1500, 3000, 5990, 6000])
def test_the_best_behind_what_was_seen(search: ItemSearch, seen: int) -> None:
    assert recall(search, 20, [*best()[:, :seen]]) >= 0.98


def test_users_who_have_seen_different_numbers_are_searched_together(search: ItemSearch) -> None:
    lengths = np.random.default_rng(1).permutation(np.geomspace(1, 3000, USERS).astype(int))
    seen = [rows[:length] for rows, length in zip(best(), lengths.tolist(), strict=True)]
    assert recall(search, 20, seen) >= 0.98
    assert recall(search, 20, [rows[::-1] for rows in seen]) >= 0.98


def test_seen_items_that_a_user_likes_least(search: ItemSearch) -> None:
    assert recall(search, 20, [*best()[:, -3000:]]) >= 0.98


@pytest.mark.usefixtures("few_compared")
@pytest.mark.parametrize("seen", [0, 30, 150, 600])
@pytest.mark.parametrize("n_allowed", [0, 5, 150, 900, 3000, 5999])
def test_allowed_items(search: ItemSearch, n_allowed: int, seen: int) -> None:
    excluded = [*best()[:, :seen]]
    rng = np.random.default_rng(2)
    at_random = np.sort(rng.permutation(N_ITEMS)[:n_allowed]).astype(np.int32)
    assert recall(search, 20, excluded, at_random) >= 0.98
    nearest_to_one = np.sort(best()[0, :n_allowed])
    assert recall(search, 20, excluded, nearest_to_one) >= 0.98
    assert search.is_exact(at_random[:100])


def test_several_threads(search: ItemSearch) -> None:
    users, _ = clustered_vectors()

    def ask(user: int) -> list[int]:
        seen = best()[user, : 37 * user]
        (top,) = search.search(users[user : user + 1], 20, [seen])
        found: list[int] = top.item_idx.tolist()
        return found

    alone = [ask(user) for user in range(USERS)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, [*range(USERS)] * 3)) == alone * 3


def test_a_bundle_of_an_older_version_says_nothing_of_reach(loaded: Bundle) -> None:
    """Then more lists are visited than are needed."""
    if loaded.lists is None:
        return
    lists = type(loaded.lists)(
        loaded.index, loaded.manifest.index.model_copy(update={"reach": []}), loaded.lists.vectors
    )
    older = bundle.search.list_search.ListSearch(lists)
    for seen in (0, 50, 200, 600):
        assert recall(older, 20, [*best()[:, :seen]]) >= 0.98
