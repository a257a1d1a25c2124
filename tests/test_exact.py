"""Exact search by ONNX Runtime against NumPy, and its model against the package onnx."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundle import exact
from bundle.exact import ExactSearch


@pytest.mark.parametrize("shape", [(1, 1), (7, 4), (300, 129)])
def test_the_model_is_what_the_package_reads(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).standard_normal(shape, np.float32)
    model = onnx.load_from_string(exact._model(vectors))
    onnx.checker.check_model(model, full_check=True)
    (items,) = model.graph.initializer
    assert np.array_equal(numpy_helper.to_array(items), vectors.T)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "TopK"]


@pytest.mark.parametrize("k", [1, 20, 300])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_the_largest_products_in_order(k: int, batch: int) -> None:
    rng = np.random.default_rng(batch)
    vectors = rng.standard_normal((300, 17), np.float32)
    queries = rng.standard_normal((batch, 17), np.float32)
    scores, rows = ExactSearch(vectors).search(queries, k)
    expected = np.sort(queries @ vectors.T, axis=1)[:, ::-1][:, :k]
    assert (scores.dtype, scores.shape, rows.shape) == (np.float32, (batch, k), (batch, k))
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    found = np.einsum("bd,bkd->bk", queries, vectors[rows])
    np.testing.assert_allclose(scores, found, atol=1e-5)
    assert all(len(set(row)) == k for row in rows.tolist())


def test_of_equal_items_the_first_comes_first() -> None:
    vectors = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.float32)
    _, rows = ExactSearch(vectors).search(np.array([[1, 0], [1, 1]], np.float32), 3)
    assert rows.tolist() == [[1, 2, 3], [0, 1, 2]]


def test_vectors_in_any_layout() -> None:
    wide = np.random.default_rng(1).standard_normal((50, 12), np.float32)
    query = wide[:1, ::2].copy()
    scores, _ = ExactSearch(wide[:, ::2]).search(query, 5)
    np.testing.assert_allclose(scores[0], np.sort(wide[:, ::2] @ query[0])[::-1][:5], atol=1e-5)
