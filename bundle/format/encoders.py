"""The two ONNX encoders of a bundle, which make vectors for new items and users.

`ItemEncoder` maps the features of an item to its vector, `UserEncoder` the vectors of a user's
items to the user's vector (fold-in).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.errors import BundleError, InputError
from bundle.format.unreadable import reading
from bundle.onnx_runtime import DEFAULT_PROVIDERS, open_session
from bundle.types import Floats, Mask


def open_model(path: Path, inputs: list[str], threads: int, providers: tuple[str, ...]) -> Any:
    """A session for one of a bundle's models.

    Args:
        path: the `.onnx` file.
        inputs: the names that its inputs must have.
        threads: number of threads per operator.
        providers: execution providers of ONNX Runtime, in order of preference.

    Raises:
        BundleError: ONNX Runtime cannot load the file, or it has other inputs.
    """
    with reading(path, "ONNX Runtime cannot load it"):
        session = open_session(path, threads, providers)
    found = [node.name for node in session.get_inputs()]
    if found != inputs:
        raise BundleError(f"{path}: has inputs {found}, expected {inputs}")
    return session


class ItemEncoder:
    """Item features → item vectors, comparable with the stored ones.

    Args:
        path: `item_encoder.onnx`; one input for each modality, and `present`.
        modalities: name → F_m, in the order of the columns of `present`.
        threads: number of threads of ONNX Runtime.
        providers: execution providers of ONNX Runtime, in order of preference.
    """

    def __init__(
        self,
        path: Path,
        modalities: Mapping[str, int],
        threads: int = 1,
        providers: tuple[str, ...] = DEFAULT_PROVIDERS,
    ) -> None:
        self.modalities = dict(modalities)
        self._session = open_model(path, [*self.modalities, "present"], threads, providers)

    def encode(self, features: Mapping[str, Floats], present: Mask) -> Floats:
        """Item vectors [B, D] from the features [B, F_m] of each modality and `present` [B, M].

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
    """Vectors of a user's items → user vector (fold-in). Arguments as in `ItemEncoder`."""

    def __init__(
        self, path: Path, threads: int = 1, providers: tuple[str, ...] = DEFAULT_PROVIDERS
    ) -> None:
        inputs = ["item_vectors", "mask", "weights"]
        self._session = open_model(path, inputs, threads, providers)

    @property
    def provider(self) -> str:
        """The execution provider in use. ONNX Runtime falls back to the CPU if a GPU fails."""
        return str(self._session.get_providers()[0])

    def encode(self, item_vectors: Floats, mask: Mask, weights: Floats) -> Floats:
        """User vectors [B, D] from histories [B, H, D], mask [B, H] and weights [B, H]."""
        feed = {"item_vectors": item_vectors, "mask": mask.astype(np.float32), "weights": weights}
        return np.asarray(self._session.run(["user_vectors"], feed)[0], np.float32)
