"""Exact search by the bundle's ONNX model and by NumPy, against a full sort."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import pytest

from bundle.format.scorer import EXACT_SEARCH, ITEM_VECTORS, ItemScorer, write_exact_search
from bundle.search.exact import ExactSearch
from bundle.types import NO_ITEMS, Floats

Open: TypeAlias = Callable[[Floats], ExactSearch]


@pytest.fixture(params=["model", "numpy"])
def exact_search(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Both ways to compute the products."""

    def by_model(vectors: Floats) -> ExactSearch:
        np.save(tmp_path / ITEM_VECTORS, np.ascontiguousarray(vectors))
        write_exact_search(tmp_path)
        return ExactSearch(vectors, ItemScorer(tmp_path / EXACT_SEARCH))

    return by_model if request.param == "model" else ExactSearch


@pytest.mark.parametrize("shape", [(1, 1), (7, 4), (300, 129)])
def test_the_model_is_valid_and_reads_the_vectors_of_the_bundle(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    vectors = np.random.default_rng(0).standard_normal(shape, np.float32)
    np.save(tmp_path / ITEM_VECTORS, vectors)
    write_exact_search(tmp_path)
    onnx.checker.check_model(str(tmp_path / EXACT_SEARCH), full_check=True)
    model = onnx.load(str(tmp_path / EXACT_SEARCH))
    (items,) = model.graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(items), vectors)
    assert (tmp_path / EXACT_SEARCH).stat().st_size < 1000


@pytest.mark.parametrize("k", [1, 20, 300, 400])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_largest_products_in_order(exact_search: Open, k: int, batch: int) -> None:
    rng = np.random.default_rng(batch)
    vectors = rng.standard_normal((300, 17), np.float32)
    queries = rng.standard_normal((batch, 17), np.float32)
    # Nothing, a few and nearly everything are left out.
    excluded = [rng.permutation(300)[: (0, 5, 290)[n % 3]].astype(np.int32) for n in range(batch)]
    tops = exact_search(vectors).search(queries, k, excluded)
    assert len(tops) == batch
    for query, top, dropped in zip(queries, tops, excluded, strict=True):
        products = vectors @ query
        products[dropped] = -np.inf
        best = np.sort(products)[::-1][: min(k, 300 - len(dropped))]
        np.testing.assert_allclose(top.scores, best, atol=1e-5)
        np.testing.assert_allclose(products[top.item_idx], best, atol=1e-5)
        assert top.scores.dtype == np.float32 and top.item_idx.dtype == np.int32
        assert len(set(top.item_idx.tolist())) == len(best)


def test_nothing_is_left(exact_search: Open) -> None:
    vectors = np.eye(2, dtype=np.float32)
    (top,) = exact_search(vectors).search(vectors[:1], 5, [np.array([1, 0, 1], np.int32)])
    assert (len(top.item_idx), len(top.scores)) == (0, 0)


def test_of_equal_items_the_first_is_ranked_first(exact_search: Open) -> None:
    vectors = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    queries = np.array([[1, 0], [1, 1]], np.float32)
    tops = exact_search(vectors).search(queries, 3, [NO_ITEMS, np.array([1], np.int32)])
    assert [top.item_idx.tolist() for top in tops] == [[1, 2, 3], [0, 2, 3]]


@pytest.mark.parametrize("k", [1, 5, 20, 250])
def test_of_many_equal_items_the_first_are_ranked_first(exact_search: Open, k: int) -> None:
    rng = np.random.default_rng(k)
    vectors = rng.integers(0, 3, (300, 2)).astype(np.float32)
    queries = rng.integers(1, 3, (16, 2)).astype(np.float32)
    for query, top in zip(
        queries, exact_search(vectors).search(queries, k, [NO_ITEMS] * 16), strict=True
    ):
        best = np.argsort(-(vectors @ query), kind="stable")[:k]
        assert top.item_idx.tolist() == best.tolist()


def test_vectors_in_any_layout(exact_search: Open) -> None:
    wide = np.random.default_rng(1).standard_normal((50, 12), np.float32)
    query = wide[:1, ::2].copy()
    (top,) = exact_search(wide[:, ::2]).search(query, 5, [NO_ITEMS])
    best = np.sort(wide[:, ::2] @ query[0])[::-1][:5]
    np.testing.assert_allclose(top.scores, best, atol=1e-5)
