"""Kinds of index by size and budget, what they say of their reach, and manifests of older ones."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bundle.format.index
from bundle.errors import BundleError
from bundle.format.consistency import SIMILAR
from bundle.format.index import BUDGET, CODED_COLUMNS, choose_kind
from bundle.format.lists import ItemVectors
from bundle.format.manifest import IndexInfo, Manifest
from bundle.format.reach import RANKS, Reach, assumed_reach, measure_displacement, measure_reach
from bundle.format.reader import Bundle
from bundle.format.recall import exact_bounds
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.sealing import seal


@pytest.mark.parametrize(
    ("items", "budget", "kind"),
    [
        (49_999, 0, "flat"),
        (50_000, BUDGET, "ivf"),
        (6_000_000, BUDGET, "ivf"),
        (7_000_000, BUDGET, "ivf_sq8"),
        (15_000_000, BUDGET, "ivf_sq8"),
        (20_000_000, BUDGET, "ivf_pq"),
        (10**9, 1, "ivf_pq"),
    ],
)
def test_the_most_exact_kind_that_fits(items: int, budget: int, kind: str) -> None:
    assert choose_kind(items, 128, budget) == kind


def test_a_coded_index_is_as_small_as_its_kind_says(tmp_path: Path) -> None:
    """Of 18 columns, which are no multiple of those that a byte of product quantisation has."""
    n_items, dim = 3_000, 18
    sizes = {}
    for kind, budget in (("ivf", BUDGET), ("ivf_sq8", n_items * 2 * (dim + 8)), ("ivf_pq", 1)):
        contents = make_contents(50, n_items, dim, rng=np.random.default_rng(0))
        store = BundleStore(tmp_path / kind)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bundle.format.index, "EXACT_BELOW", 1_000)
            store.publish(replace(contents, index_budget=budget))
        loaded = store.load()
        info = loaded.manifest.index
        assert info.kind == kind
        assert info.budget == (None if budget == BUDGET else budget)
        assert info.similar is not None and info.similar.recall >= 0.98
        assert info.recall >= 0.98
        sizes[kind] = loaded.manifest.files["items.faiss"].size
    lists = sizes["ivf"] - n_items * (4 * dim + 8)  # centres and frame
    assert sizes["ivf_sq8"] - lists == pytest.approx(n_items * (dim + 8), rel=0.05)
    codebook = 4 * 256 * 20
    codes = n_items * (20 // CODED_COLUMNS + 8)
    assert sizes["ivf_pq"] - lists - codebook == pytest.approx(codes, rel=0.1)


def test_similar_items_of_a_large_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the index, whatever their lengths, as by exact search, and none without a vector."""
    monkeypatch.setattr(bundle.format.index, "EXACT_BELOW", 1_000)
    contents = make_contents(50, 4_000, 16, rng=np.random.default_rng(0))
    contents.item_vectors[...] *= np.random.default_rng(1).uniform(0.2, 3, (4_000, 1))
    contents.item_vectors[[5, 70]] = 0
    store = BundleStore(tmp_path)
    store.publish(contents)
    loaded = store.load()
    recommender, exact = Recommender(loaded), Recommender(replace(loaded, similar=None))
    assert loaded.similar is not None
    half = np.arange(0, 4_000, 2, dtype=np.int32)
    found = []
    for item in range(0, 400, 7):
        for allowed in (None, half, half[:30]):
            top = recommender.similar(item, 20, allowed=allowed)
            expected = exact.similar(item, 20, allowed=allowed)
            assert len(top.item_idx) == len(expected.item_idx)
            assert not {item, 5, 70} & set(top.item_idx.tolist())
            known = dict(zip(expected.item_idx.tolist(), expected.scores.tolist(), strict=True))
            for row, score in zip(top.item_idx.tolist(), top.scores.tolist(), strict=True):
                assert score == pytest.approx(known.get(row, score), abs=1e-5)
            found.append(len(known.keys() & set(top.item_idx.tolist())) / max(1, len(known)))
    assert np.mean(found) >= 0.98
    assert len(recommender.similar(5, 20).item_idx) == 0


def test_reach_is_the_share_of_each_window_of_ranks() -> None:
    places = np.array([[1] * 20 + [2] * 20 + [9] * 10, [1] * 10 + [3] * 10 + [4] * 20 + [9] * 10])
    found = measure_reach(places, 9)
    # In 1, 2, 4, 8 and all 9 of the lists.
    assert found == [[0.75, 0.75, 1, 1, 1], [0, 0.5, 1, 1, 1], [0, 0, 0, 0, 1]]
    reach = Reach(found, 9, 0.99)
    assert reach.lists(0, 10) == 4
    assert reach.lists(5_000, 20) == 9
    assert Reach(found, 9, 0.7).lists(0, 10) == 1
    assert [reach.lists(skipped, 20) for skipped in (0, 40, 400)] == sorted(
        reach.lists(skipped, 20) for skipped in (0, 40, 400)
    )
    assert reach.lists(0, 10, share=0.01) == 9  # the results are the best 1,000 of all


def test_what_lies_behind_all_windows_is_in_all_lists() -> None:
    reach = Reach([[1.0] * 5] * len(RANKS), 9, 0.99)
    assert reach.lists(RANKS[-1] - 30, 20) == 1
    assert reach.lists(RANKS[-1] + 1, 20) == 9
    assert reach.skippable(20, 1) == RANKS[-2]
    older = Reach(assumed_reach(2, 9), 9, 0.99)
    assert (older.lists(0, 20), older.lists(50, 20), older.lists(200, 20)) == (2, 2, 9)


def test_displacement_is_how_far_codes_put_items_behind_their_rank() -> None:
    ranks = np.arange(1, 41)[None].repeat(4, axis=0)
    ranks[:, :20] = ranks[:, :20][:, ::-1]
    ranks[:, 20:] += 7
    assert measure_displacement(ranks) == [19, 7]


def test_exact_bounds_and_recall_without_what_is_excluded() -> None:
    vectors = np.eye(8, dtype=np.float32)[[0, 0, 0, 1, 2, 3, 4, 5]] + np.float32(0.01)
    items = ItemVectors(vectors, 8)
    query = np.array([[4, 3, 2, 1, 0, 0, 0, 0]], np.float32)
    scores = np.sort(vectors @ query[0])[::-1]
    assert exact_bounds(items, query, [np.empty(0, np.int32)], 4)[0] == pytest.approx(scores[3])
    seen = np.array([2, 0, 1], np.int32)
    assert exact_bounds(items, query, [seen], 2)[0] == pytest.approx(scores[4])
    few = np.arange(7, dtype=np.int32)
    assert exact_bounds(items, query, [few], 4)[0] == pytest.approx(vectors[7] @ query[0])


def test_manifests_of_older_versions_keep_their_bytes(tmp_path: Path) -> None:
    """They say nothing of what they do not know, and so does a small catalogue's manifest."""
    store = BundleStore(tmp_path)
    store.publish(make_contents(30, 20, 8, rng=np.random.default_rng(0)))
    manifest = store.manifest(store.current())
    assert json.loads(manifest.to_bytes())["index"] == {"kind": "flat", "nprobe": 0, "recall": 1.0}
    older = manifest.model_copy(update={"index": IndexInfo(kind="ivf", nprobe=8, recall=0.99)})
    written = json.loads(older.to_bytes())["index"]
    assert written == {"kind": "ivf", "nprobe": 8, "recall": 0.99}
    assert Manifest.parse(older.to_bytes(), "m") == older


@pytest.fixture
def many_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose ids are looked up by bisection."""
    monkeypatch.setattr("bundle.ids.SORTED_FROM", 10)
    store = BundleStore(tmp_path)
    return store.path(store.publish(make_contents(30, 20, 8, rng=np.random.default_rng(0))))


def test_the_order_of_many_ids_is_mapped_from_the_bundle(many_ids: Path) -> None:
    loaded = Bundle.load(many_ids)
    for ids, name in ((loaded.users, "users"), (loaded.items, "items")):
        np.testing.assert_array_equal(ids.order, np.load(many_ids / f"{name}_order.npy"))
        assert isinstance(ids.order.base, np.memmap)
        assert [ids.get(external) for external in ids.array.to_pylist()] == [*range(len(ids))]
        assert not {"ids", "_rows"} & vars(ids).keys()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.arange(29, dtype=np.int32), "expected int32"),
        (np.arange(30, dtype=np.int32), "are not in the order"),
        (np.full(30, -1, np.int32), "numbers that are no rows"),
        (np.full(30, 30, np.int32), "numbers that are no rows"),
    ],
)
def test_a_wrong_order_of_ids_is_refused(many_ids: Path, content: object, reason: str) -> None:
    (many_ids / "users_order.npy").unlink()
    np.save(many_ids / "users_order.npy", content)  # type: ignore[arg-type]
    seal(many_ids)
    with pytest.raises(BundleError, match=reason):
        Bundle.load(many_ids)


def test_an_index_of_similar_items_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle.format.index, "EXACT_BELOW", 1_000)
    store = BundleStore(tmp_path)
    path = store.path(store.publish(make_contents(30, 1_000, 8, rng=np.random.default_rng(0))))
    manifest = Manifest.read(path)
    files = {name: entry for name, entry in manifest.files.items() if name != SIMILAR}
    (path / "manifest.json").write_bytes(manifest.model_copy(update={"files": files}).to_bytes())
    with pytest.raises(BundleError, match=r"similar\.faiss: is not in the manifest"):
        Bundle.load(path)


def test_an_index_that_is_no_longer_used_is_freed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when garbage is collected: its files stay mapped until then."""
    monkeypatch.setattr(bundle.format.index, "EXACT_BELOW", 1_000)
    store = BundleStore(tmp_path)
    store.publish(make_contents(30, 1_000, 8, rng=np.random.default_rng(0)))
    recommender = Recommender(store.load())
    lists = recommender.bundle.lists
    assert lists is not None
    seen = np.arange(300, dtype=np.int32)
    recommender.search(np.asarray(recommender.bundle.user_vectors[:1]), 20, [seen])
    gc.disable()
    try:
        freed = weakref.ref(lists), weakref.ref(recommender.bundle)
        del lists, recommender
        assert [reference() for reference in freed] == [None, None]
    finally:
        gc.enable()
