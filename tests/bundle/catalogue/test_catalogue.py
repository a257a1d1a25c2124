"""A catalogue with added, changed and deleted items, compared with a plain model."""

from pathlib import Path

import numpy as np
import pytest

import bundle.format.index
import bundle.search.list_search
import bundle.search.recommender
from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.overlay import ItemChange
from bundle.format.reader import Bundle
from bundle.search.explanation import score_parts, top_shares
from bundle.search.options import SearchOptions
from bundle.search.recommender import Recommender
from bundle.types import Vector
from tests.support.data.item_changes import DIM, FILTERS, PlainCatalogue, overlay_of, publish


@pytest.fixture(scope="module", params=["flat", "ivf"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With each kind of index; all inverted lists are visited, so that search is exact."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "ivf":
            patch.setattr(bundle.format.index, "EXACT_BELOW", 100)
            patch.setattr(bundle.format.index, "FEWEST_LISTS", 1_000_000)
        found = publish(tmp_path_factory.mktemp(request.param))
    assert found.manifest.index.kind == request.param
    return found


@pytest.fixture(params=["few", "many"])
def many_hidden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to search beside hidden items."""
    if request.param == "many":
        monkeypatch.setattr(bundle.search.recommender, "MANY_HIDDEN", 3)


@pytest.mark.slow
@pytest.mark.usefixtures("many_hidden")
@pytest.mark.parametrize("compared", [50_000, 20])
@pytest.mark.parametrize("rate", [0.02, 0.3, 1.0])
def test_searches_agree_with_a_plain_model(
    loaded: Bundle, monkeypatch: pytest.MonkeyPatch, rate: float, compared: int
) -> None:
    monkeypatch.setattr(bundle.search.list_search, "COMPARED", compared)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        model = PlainCatalogue(loaded, rng, rate)
        recommender = model.recommender()
        catalogue = recommender.catalogue
        ids = list(model.items)
        assert sorted(catalogue.item_id(row) for row in catalogue.visible.tolist()) == sorted(ids)
        assert len(catalogue) == len(loaded.items) + len(model.vectors)
        for k in (1, 20, 600):
            queries = rng.standard_normal((4, DIM)).astype(np.float32)
            dropped = [rng.permutation(ids)[: rng.integers(0, 80)].tolist() for _ in queries]
            excluded = [np.unique(catalogue.rows(names)).astype(np.int32) for names in dropped]
            found = recommender.search(queries, k, excluded)
            for query, names, rows, top in zip(queries, dropped, excluded, found, strict=True):
                left = {i: known for i, known in model.items.items() if i not in set(names)}
                scores = {i: float(known.vector @ query) for i, known in left.items()}
                model.check(top, catalogue, scores, k)
                counts = {i: float(known.interactions) for i, known in left.items()}
                model.check(recommender.popular(k, rows), catalogue, counts, k)
                for text, holds in FILTERS.items():
                    allowed = catalogue.allowed(text)
                    fitting = {i for i, known in model.items.items() if holds(known.columns)}
                    assert {catalogue.item_id(row) for row in allowed.tolist()} == fitting
                    assert (np.diff(allowed) > 0).all()
                    some = {i: s for i, s in scores.items() if i in fitting}
                    among = recommender.search_filtered(query, k, rows, allowed)
                    model.check(among, catalogue, some, k)
                    some = {i: s for i, s in counts.items() if i in fitting}
                    model.check(recommender.popular(k, rows, allowed), catalogue, some, k)


@pytest.mark.usefixtures("many_hidden")
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_similar_items_agree_with_a_plain_model(loaded: Bundle, rate: float) -> None:
    rng = np.random.default_rng(9)
    model = PlainCatalogue(loaded, rng, rate)
    recommender = model.recommender()
    catalogue = recommender.catalogue
    assert recommender.similarities.names == ["fused", "behaviour", "image", "text"]
    for item_id in rng.permutation(list(model.items))[:25].tolist():
        row = catalogue.get(item_id)
        assert row is not None
        for number, by in enumerate(recommender.similarities.names):
            columns = slice(None) if not number else loaded.manifest.part_columns(number - 1)
            vectors = {
                i: (known.vector if not number else known.parts) for i, known in model.items.items()
            }
            mine = vectors[item_id]
            for text in (None, "price < 20"):
                allowed = None if text is None else catalogue.allowed(text)
                top = recommender.similar(row, 15, by, allowed)
                if mine is None:
                    assert len(top.item_idx) == 0
                    continue
                cosines = {
                    i: cosine(mine[columns], other[columns])
                    for i, other in vectors.items()
                    if other is not None
                    and i != item_id
                    and (text is None or FILTERS[text](model.items[i].columns))
                }
                model.check(top, catalogue, cosines, 15)


def cosine(one: Vector, other: Vector) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_items_are_looked_at_as_they_are_now(loaded: Bundle) -> None:
    model = PlainCatalogue(loaded, np.random.default_rng(5), 0.4)
    catalogue = model.recommender().catalogue
    for item_id in [*loaded.items.ids, *model.items, "never heard of"]:
        row, known = catalogue.get(item_id), model.items.get(item_id)
        if known is None:
            assert row is None
            continue
        assert row is not None
        assert catalogue.item_id(row) == item_id
        assert catalogue.columns(row) == known.columns
        rows = np.array([row], np.int32)
        np.testing.assert_array_equal(catalogue.vectors(rows)[0], known.vector)
        assert catalogue.interactions(rows)[0] == known.interactions
        change = model.changes.get(item_id)
        touched = change is not None and (change.columns is not None or change.features is not None)
        expected = "changed" if touched else "trained"
        assert catalogue.state(row) == (expected if item_id in loaded.items else "new")
    for item_id, change in model.changes.items():
        assert catalogue.was_deleted(item_id) == change.deleted
    everything = list(model.items)
    vectors = catalogue.vectors(catalogue.rows(everything))
    np.testing.assert_array_equal(vectors, [model.items[i].vector for i in everything])


def test_parts_and_influence_of_changed_items(loaded: Bundle) -> None:
    model = PlainCatalogue(loaded, np.random.default_rng(6), 0.4)
    recommender = model.recommender()
    rows = recommender.catalogue.rows(list(model.items))
    query = np.random.default_rng(0).standard_normal(DIM).astype(np.float32)
    parts = score_parts(recommender.catalogue, query, rows)
    total = np.sum(list(parts.values()), axis=0)
    for value, known in zip(total, model.items.values(), strict=True):
        assert np.isnan(value) if known.parts is None else abs(value - known.vector @ query) < 1e-5
    best, shares = top_shares(recommender.catalogue, rows[:7], rows, 3)
    mine = np.stack([known.vector for known in model.items.values()])
    products = np.maximum(mine @ mine[:7].T, 0)
    expected = products / np.maximum(products.sum(1, keepdims=True), 1e-12)
    np.testing.assert_allclose(shares, -np.sort(-expected, axis=1)[:, :3], atol=1e-5)
    np.testing.assert_allclose(shares, np.take_along_axis(expected, best, 1), atol=1e-5)
    _, all_of_them = top_shares(recommender.catalogue, rows[:7], rows, 9)
    np.testing.assert_allclose(all_of_them, -np.sort(-expected, axis=1), atol=1e-5)


def test_diversity_among_new_items(loaded: Bundle) -> None:
    model = PlainCatalogue(loaded, np.random.default_rng(7), 0.4)
    recommender = model.recommender()
    query = np.random.default_rng(1).standard_normal((1, DIM)).astype(np.float32)
    pool = recommender.search(query, 60, [np.empty(0, np.int32)])[0]
    assert (pool.item_idx >= len(loaded.items)).any()
    unit = recommender.catalogue.vectors(pool.item_idx)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    chosen: list[int] = [0]
    for _ in range(9):
        nearest = (unit @ unit[chosen].T).max(1)
        value = 0.4 * pool.scores - 0.6 * nearest
        value[chosen] = -np.inf
        chosen.append(int(np.argmax(value)))
    found = recommender.diversify(pool, SearchOptions(10, diversity=0.6))
    assert found.item_idx.tolist() == pool.item_idx[chosen].tolist()


def test_more_hidden_items_than_are_dropped_from_the_results(tmp_path: Path) -> None:
    """With the real limit of them."""
    trained = publish(tmp_path, 2500)
    deleted = {f"item-{n}" for n in np.random.default_rng(2).permutation(2500)[:1200]}
    changes = [ItemChange(item_id, deleted=True) for item_id in deleted]
    recommender = Recommender(trained, overlay_of(trained, changes, {}))
    left = [n for n in range(2500) if f"item-{n}" not in deleted]
    query = np.array(trained.user_vectors[:3])
    for vector, top in zip(
        query, recommender.search(query, 2000, [np.array([left[0]], np.int32)] * 3), strict=True
    ):
        assert sorted(top.item_idx.tolist()) == left[1:]
        expected = np.sort(trained.item_vectors[left[1:]] @ vector)[::-1]
        np.testing.assert_allclose(top.scores, expected, atol=1e-5)
    assert sorted(recommender.popular(2000).item_idx.tolist()) == left


def test_an_item_with_new_features_keeps_its_interactions(loaded: Bundle) -> None:
    """Its item_idx is another one, and what refers to the old one has to follow."""
    vector = np.ones(DIM, np.float32)
    changes = [
        ItemChange("item-5", features={"text": np.zeros(4, np.float32)}),
        ItemChange("item-9", deleted=True),
        ItemChange("brand-new", features={"text": np.zeros(4, np.float32)}),
        ItemChange("item-2", features={"text": np.zeros(4, np.float32)}),
    ]
    vectors = {"item-5": vector, "brand-new": 2 * vector, "item-2": 3 * vector}
    catalogue = Catalogue(loaded, overlay_of(loaded, changes, vectors))
    seen = np.array([1, 2, 5, 9, 11], np.int32)
    current = catalogue.current(seen)
    assert [catalogue.item_id(row) for row in current.tolist()] == [
        "item-1",
        "item-9",
        "item-11",
        "item-5",
        "item-2",
    ]
    np.testing.assert_array_equal(catalogue.vectors(current)[3:], [vector, 3 * vector])
    assert (np.diff(current) > 0).all()
    untouched = Catalogue(loaded)
    assert untouched.current(seen) is seen
