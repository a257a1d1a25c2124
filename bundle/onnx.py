"""ONNX Runtime, quiet and within its thread budget: the only place that imports it."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The wheels of ONNX Runtime send usage data unless told otherwise before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

VERSION: str = ort.__version__


def open_session(path: Path, threads: int, providers: tuple[str, ...]) -> ort.InferenceSession:
    """A session on a model file.

    Args:
        path: the `.onnx` file.
        threads: of one operator.
        providers: in order of preference; those that this machine does not offer are left out.

    Raises:
        Exception: ONNX Runtime's errors have no common base.
    """
    offered = ort.get_available_providers()
    usable = [name for name in providers if name in offered]
    if "CUDAExecutionProvider" in usable:
        ort.preload_dlls()  # CUDA from pip's packages, which the loader does not look into
    return ort.InferenceSession(str(path), _options(threads), providers=usable)


def session_of(
    model: bytes, outside: Mapping[str, NDArray[np.float32]], threads: int
) -> ort.InferenceSession:
    """A session on the CPU for a model that is in memory; as `open_session`.

    Args:
        model: the content of an `.onnx` file.
        outside: tensors, in C order, that the model names as external data.
        threads: of one operator.
    """
    options = _options(threads)
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in outside.values()]
    options.add_external_initializers(list(outside), values)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # Threads that spin while they wait double the time as soon as something else runs beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # On x86 without VNNI, sums of int8 products overflow unless told not to, so that an int8
    # encoder would give other vectors there. It changes nothing elsewhere.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options
