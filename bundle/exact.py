"""Exact search of a small catalogue: one matrix product, by ONNX Runtime, and its largest elements.

ONNX Runtime packs the items' vectors once, for the processor that it finds. FAISS, and NumPy as
well, do so for each product, which for a few queries costs as much as the product itself:
`benchmarks/exact_search.py` has the numbers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.onnx import session_of
from bundle.topk import TopK, largest

FLOAT, INT, EXTERNAL = 1, 2, 1
"""What ONNX calls a type of elements, of an attribute, and data that is not in the model."""


class ExactSearch:
    """Inner products with all items. Safe to call from several threads.

    Args:
        vectors: [I, D] float32; a copy is kept.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        items = {"items": np.ascontiguousarray(vectors)}
        self._session = session_of(_model(*vectors.shape), items, threads=1)

    def search(
        self, queries: NDArray[np.float32], k: int, excluded: Sequence[NDArray[np.int32]]
    ) -> list[TopK]:
        """The items with the largest inner products.

        Args:
            queries: [B, D].
            k: results.
            excluded: for each query the rows that must not come back.
        """
        (products,) = self._session.run(["products"], {"queries": queries})
        lengths = [len(rows) for rows in excluded]
        if any(lengths):
            of_query = np.arange(len(lengths)).repeat(lengths)
            products[of_query, np.concatenate(excluded)] = -np.inf
        return largest(products, k)


def _model(n_items: int, dim: int) -> bytes:
    """ONNX: products = queries @ itemsᵀ, with the items as external data.

    The package onnx, which writes such files, is not among those of the service. These are all
    the fields of its protocol buffer that one node needs; a test reads them with the package.
    """
    items = (
        _number(1, n_items)
        + _number(1, dim)
        + _number(2, FLOAT)
        + _text(8, "items")
        # Vectors within the model would be copied several times, in which no request is answered.
        + _field(13, _text(1, "location") + _text(2, "given with the session"))
        + _number(14, EXTERNAL)
    )
    transposed = _text(1, "transB") + _number(3, 1) + _number(20, INT)
    product = (
        _text(1, "queries")
        + _text(1, "items")
        + _text(2, "products")
        + _text(4, "Gemm")
        + _field(5, transposed)
    )
    graph = (
        _field(1, product)
        + _text(2, "exact search")
        + _field(5, items)
        + _field(11, _value("queries", ["B", dim]))
        + _field(12, _value("products", ["B", n_items]))
    )
    operators = _text(1, "") + _number(2, 18)
    return _number(1, 9) + _field(7, graph) + _field(8, operators)


def _value(name: str, shape: list[str | int]) -> bytes:
    sizes = [_number(1, size) if isinstance(size, int) else _text(2, size) for size in shape]
    tensor = _number(1, FLOAT) + _field(2, b"".join(_field(1, size) for size in sizes))
    return _text(1, name) + _field(2, _field(1, tensor))


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    pieces = bytearray()
    while value > 127:
        pieces.append(value & 127 | 128)
        value >>= 7
    return bytes([*pieces, value])
