"""The two ONNX encoders of a bundle, run by ONNX Runtime.

They make vectors for what was not there at training time: `ItemEncoder` from an item's features,
`UserEncoder` from the vectors of a user's items.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.errors import BundleError, InputError
from bundle.onnx import open_session

Float = NDArray[np.float32]

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
PROVIDERS = (CUDA, CPU)
"""A GPU where ONNX Runtime finds one."""


def _session(path: Path, threads: int, providers: tuple[str, ...]) -> Any:
    # Whatever ONNX Runtime says, and it raises many things, the file is unusable.
    try:
        return open_session(path, threads, providers)
    except Exception as error:
        raise BundleError(f"{path}: ONNX Runtime cannot load it ({error})") from error


def _check_inputs(session: Any, expected: list[str], path: Path) -> None:
    found = [node.name for node in session.get_inputs()]
    if found != expected:
        raise BundleError(f"{path}: has inputs {found}, expected {expected}")


class ItemEncoder:
    """Raw features → item vectors comparable with the stored ones.

    Args:
        path: `item_encoder.onnx`; one input for each modality and `present`.
        modalities: name → F_m in the order of the columns of `present`.
        threads: threads of ONNX Runtime.
        providers: of ONNX Runtime, in order of preference.
    """

    def __init__(
        self,
        path: Path,
        modalities: Mapping[str, int],
        threads: int = 1,
        providers: tuple[str, ...] = PROVIDERS,
    ) -> None:
        self.modalities = dict(modalities)
        self._session = _session(path, threads, providers)
        _check_inputs(self._session, [*self.modalities, "present"], path)

    def encode(self, features: Mapping[str, Float], present: NDArray[np.bool_]) -> Float:
        """Item vectors [B, D] from features [B, F_m] of each modality and present [B, M].

        Raises:
            InputError: a modality is missing, has the wrong width or is not finite.
        """
        feed: dict[str, NDArray[np.generic]] = {"present": present.astype(np.float32)}
        for name, width in self.modalities.items():
            array = features.get(name)
            if array is None:
                raise InputError(f"{name}: features are missing (mark absent ones in `present`)")
            if array.shape != (len(present), width):
                raise InputError(f"{name}: shape {array.shape}, expected {(len(present), width)}")
            if not np.isfinite(array).all():
                raise InputError(f"{name}: features are not finite")
            feed[name] = array
        return np.asarray(self._session.run(["item_vectors"], feed)[0], np.float32)


class UserEncoder:
    """The vectors of a user's items → a user vector (fold-in); arguments as of `ItemEncoder`."""

    def __init__(
        self, path: Path, threads: int = 1, providers: tuple[str, ...] = PROVIDERS
    ) -> None:
        self._session = _session(path, threads, providers)
        _check_inputs(self._session, ["item_vectors", "mask", "weights"], path)

    @property
    def provider(self) -> str:
        """What runs it; ONNX Runtime falls back to the CPU where a GPU cannot be used."""
        return str(self._session.get_providers()[0])

    def encode(self, item_vectors: Float, mask: NDArray[np.bool_], weights: Float) -> Float:
        """User vectors [B, D] from histories [B, H, D], mask [B, H] and weights [B, H]."""
        feed = {"item_vectors": item_vectors, "mask": mask.astype(np.float32), "weights": weights}
        return np.asarray(self._session.run(["user_vectors"], feed)[0], np.float32)
