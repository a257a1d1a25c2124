"""Encoders with int8 weights give the same vectors on every processor."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundle.onnx_runtime import CPU, open_session


def test_sums_of_int8_products_do_not_overflow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (256, 64)).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["rounded", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["rounded", "weights", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["float_sums"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float_sums", "scale"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=onnx.IR_VERSION_2023_5_5
    )
    x = rng.random((8, 256), np.float32)
    onnx.save(model, tmp_path / "int8.onnx")
    (y,) = open_session(tmp_path / "int8.onnx", 1, (CPU,)).run(None, {"x": x})
    exact = x @ weights
    # Without the session's option, on an x86 without VNNI, the error is 14 % of the largest.
    assert np.abs(y - exact).max() < 0.005 * np.abs(exact).max()
