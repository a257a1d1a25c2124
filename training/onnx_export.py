"""From a torch module to the bytes of an ONNX file."""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

OPSET = 18


def export_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    output: str,
    dynamic_shapes: Any,
) -> bytes:
    """One self-contained file.

    Args:
        module: with one tensor as its result.
        example: arguments of `forward`, of the shapes that stay and examples of those that vary.
        inputs: a name for each argument.
        output: the name of the result.
        dynamic_shapes: which axes vary, as `torch.export` takes them.
    """
    # The exporter warns about its own internals and about packages that we do not use.
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
