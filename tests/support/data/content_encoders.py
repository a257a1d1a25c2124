"""Small content encoders whose vectors can be worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

WORDS = {"?": 0, "red": 1, "blue": 2, "mug": 3}


def word_vectors(dim: int) -> NDArray[np.float32]:
    """[W, dim], what the text encoder makes of each word; a text is their mean."""
    return np.random.default_rng(5).standard_normal((len(WORDS), dim), np.float32)


def word_encoder(folder: Path, dim: int) -> Path:
    """An encoder of texts: the mean of `word_vectors`."""
    folder.mkdir(parents=True)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["states"])]
    table = numpy_helper.from_array(word_vectors(dim), "table")
    _save(
        folder, nodes, [("ids", TensorProto.INT64, ["B", "L"])], ("states", ["B", "L", dim]), table
    )
    words = Tokenizer(WordLevel(WORDS, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    words.save(str(folder / "tokenizer.json"))
    names = {"ids_input": "ids", "mask_input": None, "types_input": None}
    return _describe(folder, kind="text", tokenizer="tokenizer.json", normalize=False, **names)


def colour_encoder(folder: Path) -> Path:
    """An encoder of pictures [6]: the mean of each channel in 0…1, and twice of it."""
    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "mean"], ["double"]),
        helper.make_node("Concat", ["mean", "double"], ["vector"], axis=1),
    ]
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    _save(
        folder, nodes, [("pixels", TensorProto.FLOAT, ["B", 3, 8, 8])], ("vector", ["B", 6]), axes
    )
    return _describe(folder, kind="image", size=8, mean=[0, 0, 0], std=[1, 1, 1])


def _save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[Any]]],
    output: tuple[str, list[Any]],
    constant: onnx.TensorProto,
) -> None:
    graph = helper.make_graph(
        nodes,
        "content",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [constant],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "model.onnx")


def _describe(folder: Path, **spec: Any) -> Path:
    (folder / "encoder.json").write_text(json.dumps({"model": "model.onnx", **spec}))
    return folder
