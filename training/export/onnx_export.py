"""ONNX export of torch modules."""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPSET = 18
"""ONNX operator set version."""


def export_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    output: str,
    dynamic_shapes: Any,
) -> bytes:
    """Export a module as the bytes of a self-contained ONNX file.

    Args:
        module: returns one tensor.
        example: arguments of `forward`; sizes of dynamic axes are examples.
        inputs: name of each argument.
        output: name of the result.
        dynamic_shapes: dynamic axes, as for `torch.export`.
    """
    # The exporter warns about its own internals and about packages that are not used here.
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        path = Path(directory) / "module.onnx"
        try:
            torch.onnx.export(
                module.eval(),
                example,
                path,
                input_names=inputs,
                output_names=[output],
                dynamic_shapes=dynamic_shapes,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        finally:
            logger.setLevel(level)
        return path.read_bytes()
