"""The recommender against NumPy, for flat and inverted-list indexes."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.format import index
from bundle.format.lists import search_faiss
from bundle.format.reach import Reach
from bundle.format.reader import Bundle
from bundle.format.recall import search_recall
from bundle.search.options import SearchOptions
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS
from tests.support.data.bundles import make_contents


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    store = BundleStore(tmp_path_factory.mktemp("store"))
    store.publish(make_contents(300, 150, 16, rng=np.random.default_rng(0)))
    return store.load()


def reference(bundle: Bundle, user: int, excluded: NDArray[np.int32]) -> NDArray[np.float32]:
    """Scores [I] of one user, excluded items at −∞."""
    vector = bundle.user_vectors[user]
    scores = bundle.item_vectors @ vector if vector.any() else bundle.popularity.astype(np.float32)
    scores = scores.copy()
    scores[excluded] = -np.inf
    return scores


@pytest.mark.parametrize("k", [1, 20, 150, 500])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_every_user_gets_the_exact_top_k(bundle: Bundle, k: int, exclude_seen: bool) -> None:
    users = np.arange(len(bundle.users), dtype=np.int32)
    none = np.empty(0, np.int32)
    excluded = [bundle.seen.row(int(u)) if exclude_seen else none for u in users]
    for user, top in zip(users, Recommender(bundle).recommend(users, k, excluded), strict=True):
        scores = reference(bundle, int(user), excluded[user])
        expected = np.sort(scores)[::-1][: min(k, len(scores) - len(excluded[user]))]
        np.testing.assert_allclose(top.scores, expected, atol=1e-5)
        np.testing.assert_allclose(scores[top.item_idx], top.scores, atol=1e-5)
        assert len(set(top.item_idx.tolist())) == len(top.item_idx)


def test_equal_scores_come_in_the_order_of_the_items(bundle: Bundle) -> None:
    top = Recommender(bundle).popular(150)
    order = sorted(range(150), key=lambda i: (-bundle.popularity[i], i))
    assert top.item_idx.tolist() == order


def test_similar_items_are_those_of_the_largest_cosine(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    vectors = np.array(bundle.item_vectors, np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for item in range(0, 150, 11):
        cosines = unit @ unit[item]
        cosines[item] = -np.inf
        top = recommender.similar(item, 10)
        assert item not in top.item_idx
        np.testing.assert_allclose(top.scores, np.sort(cosines)[::-1][:10], atol=1e-5)
    assert len(recommender.similar(0, 500).item_idx) == 149


@pytest.mark.parametrize("compared", [50_000, 20])
@pytest.mark.parametrize("exact_below", [50_000, 100])
def test_filtered_search_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: int, exact_below: int
) -> None:
    """Few and many allowed items, with and without inverted lists, against NumPy."""
    monkeypatch.setattr("bundle.format.index.EXACT_BELOW", exact_below)
    monkeypatch.setattr("bundle.search.list_search.COMPARED", compared)
    store = BundleStore(tmp_path)
    store.publish(make_contents(50, 900, 8, rng=np.random.default_rng(2)))
    loaded = store.load()
    recommender = Recommender(loaded)
    rng = np.random.default_rng(0)
    for n_allowed in (0, 1, 5, 60, 900):
        allowed = np.sort(rng.permutation(900)[:n_allowed]).astype(np.int32)
        excluded = np.sort(rng.permutation(900)[:30]).astype(np.int32)
        vector = np.array(loaded.user_vectors[3])
        left = np.setdiff1d(allowed, excluded)
        top = recommender.search_filtered(vector, 10, excluded, allowed)
        assert len(top.item_idx) == min(10, len(left))
        assert np.isin(top.item_idx, left).all()
        np.testing.assert_allclose(
            top.scores, loaded.item_vectors[top.item_idx] @ vector, atol=1e-6
        )
        if loaded.manifest.index.kind == "flat" or n_allowed <= compared:
            expected = np.sort(loaded.item_vectors[left] @ vector)[::-1][:10]
            np.testing.assert_allclose(top.scores, expected, atol=1e-6)
        popular = recommender.popular(10, excluded, allowed)
        counts = np.sort(loaded.popularity[left])[::-1][:10]
        np.testing.assert_array_equal(popular.scores, counts)
        similar = recommender.similar(4, 10, allowed=allowed)
        assert np.isin(similar.item_idx, allowed).all()
        assert len(similar.item_idx) == min(10, len(np.setdiff1d(allowed, [4])))


def test_diversity_is_maximal_marginal_relevance(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    pool = recommender.search(np.array(bundle.user_vectors[:1]), 40, [np.empty(0, np.int32)])[0]
    assert recommender.diversify(pool, SearchOptions(10)) is pool
    unit = np.array(bundle.item_vectors, np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for diversity in (0.3, 1.0):
        chosen: list[int] = []
        for _ in range(10):
            best, best_value = -1, -np.inf
            for item, score in zip(pool.item_idx.tolist(), pool.scores.tolist(), strict=True):
                near = max((unit[item] @ unit[c] for c in chosen), default=0.0)
                value = (1 - diversity) * score - (diversity * near if chosen else 0.0)
                if item not in chosen and value > best_value + 1e-9:
                    best, best_value = item, value
            chosen.append(best)
        found = recommender.diversify(pool, SearchOptions(10, diversity=diversity))
        assert found.item_idx.tolist() == chosen
        by_item = dict(zip(pool.item_idx.tolist(), pool.scores.tolist(), strict=True))
        assert found.scores.tolist() == [by_item[item] for item in chosen]
    few = recommender.diversify(pool, SearchOptions(100, diversity=0.5))
    assert sorted(few.item_idx.tolist()) == sorted(pool.item_idx.tolist())


def test_similar_by_a_part_compares_what_that_part_adds(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    parts = bundle.manifest.parts
    assert recommender.similarities.names == ["fused", *(part.name for part in parts)]
    for number, part in enumerate(parts):
        vectors = np.array(bundle.item_parts[:, bundle.manifest.part_columns(number)], np.float64)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = unit @ unit[7]
        cosines[7] = -np.inf
        top = recommender.similar(7, 10, part.name)
        np.testing.assert_allclose(top.scores, np.sort(cosines)[::-1][:10], atol=1e-5)


def test_items_without_a_vector_resemble_nothing(tmp_path: Path) -> None:
    contents = make_contents(30, 20, 8, rng=np.random.default_rng(0))
    contents.item_vectors[[3, 4]] = 0
    store = BundleStore(tmp_path)
    store.publish(contents)
    recommender = Recommender(store.load())
    assert len(recommender.similar(3, 5).item_idx) == 0
    assert not {3, 4} & set(recommender.similar(5, 20).item_idx.tolist())


def test_a_large_catalogue_gets_inverted_lists_that_find_almost_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "EXACT_BELOW", 1000)
    rng = np.random.default_rng(0)
    contents = make_contents(200, 4000, 16, rng=rng)
    store = BundleStore(tmp_path)
    store.publish(contents)
    loaded = store.load()
    assert loaded.manifest.index.kind == "ivf"
    assert loaded.manifest.index.recall >= 0.98
    assert loaded.lists is not None
    nothing = [NO_ITEMS] * 150
    assert search_recall(loaded.lists, contents.user_vectors[:150], nothing).mean() >= 0.97
    users = np.arange(150, dtype=np.int32)
    for user, top in zip(
        users,
        Recommender(loaded).recommend(users, 20, [loaded.seen.row(int(u)) for u in users]),
        strict=True,
    ):
        assert not set(top.item_idx.tolist()) & set(loaded.seen.row(int(user)).tolist())
        expected = loaded.item_vectors[top.item_idx] @ loaded.user_vectors[user]
        np.testing.assert_allclose(top.scores, expected, atol=1e-5)


def test_lists_that_hold_fewer_items_than_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAISS fills up with -1, which is no item; k come back as long as there are k."""
    monkeypatch.setattr(index, "EXACT_BELOW", 1000)
    store = BundleStore(tmp_path)
    store.publish(make_contents(200, 4000, 16, rng=np.random.default_rng(0), mean_history=150))
    recommender = Recommender(loaded := store.load())
    lists = loaded.lists
    assert lists is not None
    lists.info = lists.info.model_copy(update={"nprobe": 1})
    lists.reach = Reach([[1.0] * 9] * 8, lists.index.nlist, 0.99)  # of one list, supposedly
    vector = np.array(loaded.user_vectors[7])
    assert -1 in search_faiss(loaded.index, vector[None], 500, 1)[1]
    history = loaded.seen.row(7)
    everything = np.arange(4000, dtype=np.int32)
    for k, excluded, expected in (
        (500, history, 500),
        (20, everything[:3500], 20),
        (20, everything[:3990], 10),
        (20, everything, 0),
    ):
        for top in recommender.search(np.stack([vector] * 2), k, [excluded, history[:0]]):
            assert (top.item_idx >= 0).all()
        (top,) = recommender.search(vector[None], k, [excluded])
        assert len(top.item_idx) == expected
        assert not np.isin(top.item_idx, excluded).any()
        np.testing.assert_allclose(
            top.scores, loaded.item_vectors[top.item_idx] @ vector, atol=1e-5
        )


def test_filters_of_a_large_catalogue_find_what_is_far_from_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Allowed at random, and just those that the user likes least."""
    monkeypatch.setattr(index, "EXACT_BELOW", 1000)
    monkeypatch.setattr("bundle.search.list_search.COMPARED", 100)
    rng = np.random.default_rng(0)
    store = BundleStore(tmp_path)
    store.publish(make_contents(200, 4000, 16, rng=rng))
    recommender = Recommender(loaded := store.load())
    assert loaded.manifest.index.kind == "ivf"
    recalls = []
    for user in range(20):
        vector = np.array(loaded.user_vectors[user])
        excluded = loaded.seen.row(user)[:100]
        for order in (rng.permutation(4000), np.argsort(loaded.item_vectors @ vector)):
            for n_allowed in (101, 400, 2000, 3999):
                allowed = np.sort(order[:n_allowed]).astype(np.int32)
                top = recommender.search_filtered(vector, 20, excluded, allowed)
                assert len(top.item_idx) == 20
                assert np.isin(top.item_idx, np.setdiff1d(allowed, excluded)).all()
                recalls.append(recommender.recall(vector, excluded, allowed, top))
    assert np.mean(recalls) > 0.98
    assert recommender.is_indexed(allowed) and not recommender.is_indexed(allowed[:100])
