"""Exact search by ONNX Runtime against NumPy, and its model against the package onnx."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundle import exact
from bundle.exact import ExactSearch
from bundle.overlay import NO_ITEMS


@pytest.mark.parametrize("shape", [(1, 1), (7, 4), (300, 129)])
def test_the_model_is_what_the_package_reads(shape: tuple[int, int]) -> None:
    model = onnx.load_from_string(exact._model(*shape))
    assert [node.op_type for node in model.graph.node] == ["Gemm"]
    (items,) = model.graph.initializer
    assert (items.data_location, tuple(items.dims)) == (onnx.TensorProto.EXTERNAL, shape)
    vectors = np.zeros(shape, np.float32)
    items.CopyFrom(numpy_helper.from_array(vectors, "items"))  # the checker looks for a file
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("k", [1, 20, 300, 400])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_largest_products_in_order(k: int, batch: int) -> None:
    rng = np.random.default_rng(batch)
    vectors = rng.standard_normal((300, 17), np.float32)
    queries = rng.standard_normal((batch, 17), np.float32)
    # Nothing, a few and nearly everything are left out.
    excluded = [rng.permutation(300)[: (0, 5, 290)[n % 3]].astype(np.int32) for n in range(batch)]
    tops = ExactSearch(vectors).search(queries, k, excluded)
    assert len(tops) == batch
    for query, top, dropped in zip(queries, tops, excluded, strict=True):
        products = vectors @ query
        products[dropped] = -np.inf
        best = np.sort(products)[::-1][: min(k, 300 - len(dropped))]
        np.testing.assert_allclose(top.scores, best, atol=1e-5)
        np.testing.assert_allclose(products[top.item_idx], best, atol=1e-5)
        assert (top.scores.dtype, top.item_idx.dtype) == (np.float32, np.int32)
        assert len(set(top.item_idx.tolist())) == len(best)


def test_nothing_is_left() -> None:
    vectors = np.eye(2, dtype=np.float32)
    (top,) = ExactSearch(vectors).search(vectors[:1], 5, [np.array([1, 0, 1], np.int32)])
    assert (len(top.item_idx), len(top.scores)) == (0, 0)


def test_of_equal_items_the_first_comes_first() -> None:
    vectors = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    queries = np.array([[1, 0], [1, 1]], np.float32)
    tops = ExactSearch(vectors).search(queries, 3, [NO_ITEMS, np.array([1], np.int32)])
    assert [top.item_idx.tolist() for top in tops] == [[1, 2, 3], [0, 2, 3]]


@pytest.mark.parametrize("k", [1, 5, 20, 250])
def test_of_many_equal_items_the_first_come_first(k: int) -> None:
    rng = np.random.default_rng(k)
    vectors = rng.integers(0, 3, (300, 2)).astype(np.float32)
    queries = rng.integers(1, 3, (16, 2)).astype(np.float32)
    for query, top in zip(
        queries, ExactSearch(vectors).search(queries, k, [NO_ITEMS] * 16), strict=True
    ):
        best = np.argsort(-(vectors @ query), kind="stable")[:k]
        assert top.item_idx.tolist() == best.tolist()


def test_vectors_in_any_layout() -> None:
    wide = np.random.default_rng(1).standard_normal((50, 12), np.float32)
    query = wide[:1, ::2].copy()
    (top,) = ExactSearch(wide[:, ::2]).search(query, 5, [NO_ITEMS])
    best = np.sort(wide[:, ::2] @ query[0])[::-1][:5]
    np.testing.assert_allclose(top.scores, best, atol=1e-5)
