"""ONNX Runtime sessions: few threads, no usage data, no log output below errors.

The only module that imports `onnxruntime`, and only for the first session: commands that list
bundles need none, and the import takes about as long as all else that they do.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
DEFAULT_PROVIDERS = (CUDA, CPU)
"""Execution providers in order of preference: a GPU if ONNX Runtime can use one, else the CPU."""


@cache
def runtime() -> Any:
    """The package `onnxruntime`."""
    # Its wheels send usage data unless this is set before the import.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(path: Path, threads: int, providers: tuple[str, ...]) -> Any:
    """An `InferenceSession` for a model file.

    Args:
        path: the `.onnx` file.
        threads: number of threads per operator.
        providers: execution providers in order of preference; those that are not available here
            are skipped.

    Raises:
        Exception: the errors of ONNX Runtime have no common base class.
    """
    ort = runtime()
    available = ort.get_available_providers()
    usable = [name for name in providers if name in available]
    if CUDA in usable:
        ort.preload_dlls()  # the CUDA libraries of pip packages, which the loader does not search
    return ort.InferenceSession(str(path), _options(threads), providers=usable)


def _options(threads: int) -> Any:
    options = runtime().SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # Threads that spin while they wait take twice the time once other work shares the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # On x86 without VNNI, sums of int8 products overflow without this option, and an int8 encoder
    # would return other vectors. Elsewhere it changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options
