"""Scores of all items by a small ONNX model in the bundle, a single matrix product.

ONNX Runtime packs the item vectors once, when the model is opened, for the processor at hand. NumPy
and FAISS pack them in each product, which for a few queries takes as long as the product itself
(`benchmarks/serving/exact_search.py`).

The model has no weights of its own: its constant `items` is the data in `item_vectors.npy`, which
ONNX Runtime maps into memory.
"""

from pathlib import Path

import numpy as np

from bundle.format.encoders import open_model
from bundle.onnx_runtime import CPU
from bundle.types import Floats

EXACT_SEARCH = "exact_search.onnx"
"""File name of the model. Bundles with inverted lists, and those of older versions, have none."""
ITEM_VECTORS = "item_vectors.npy"


class ItemScorer:
    """Inner products of queries with all items, on one thread. Safe to call from several threads.

    Args:
        path: the model, beside `item_vectors.npy`.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """

    def __init__(self, path: Path) -> None:
        # On the CPU: copying the scores from a GPU takes longer than computing them here.
        self._session = open_model(path, ["queries"], 1, (CPU,))

    def scores(self, queries: Floats) -> Floats:
        """Scores [B, I] of queries [B, D]; a new array, which the caller may change."""
        return np.asarray(self._session.run(["scores"], {"queries": queries})[0], np.float32)


def write_exact_search(directory: Path) -> None:
    """Write the model `scores [B, I] = queries [B, D] @ itemsᵀ` of a new bundle.

    Needs the package onnx, which is installed where bundles are made, not where they are served.

    Args:
        directory: with `item_vectors.npy` in C order.
    """
    from onnx import IR_VERSION_2023_5_5, TensorProto, helper

    with (directory / ITEM_VECTORS).open("rb") as file:
        np.lib.format.read_magic(file)
        (n_items, dim), _, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
    items = TensorProto(
        name="items",
        dims=(n_items, dim),
        data_type=TensorProto.FLOAT,
        data_location=TensorProto.EXTERNAL,
    )
    length = n_items * dim * dtype.itemsize
    for key, value in {"location": ITEM_VECTORS, "offset": offset, "length": length}.items():
        items.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["queries", "items"], ["scores"], transB=1)],
        "exact_search",
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", dim])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["B", n_items])],
        [items],
    )
    # Both versions are older than the oldest ONNX Runtime that the project allows.
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=IR_VERSION_2023_5_5
    )
    (directory / EXACT_SEARCH).write_bytes(model.SerializeToString())
