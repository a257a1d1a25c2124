"""Base class of content encoders: the ONNX session, and the check against the description.

Shapes: B items of a batch, L tokens of its longest text, F features.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.content.specs import SPEC_FILE, ImageEncoderSpec, TextEncoderSpec
from bundle.errors import InputError
from bundle.onnx_runtime import open_session
from bundle.types import Floats

Prepared: TypeAlias = NDArray[Any]
"""Input of the model for one item: token ids [≤ L] int64, or pixels float32."""

_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


class ContentEncoder(ABC):
    """Encoder of texts or pictures: content of items → vectors [B, F].

    Args:
        folder: folder of the description.
        spec: the description.
        parts: further files that influence the vectors, such as the tokenizer.
        threads: number of threads of ONNX Runtime.

    Attributes:
        spec: the description.
        name: path of the model, for messages.
        model: path of the model.
        parts: further files that influence the vectors.
        dim: F.

    Raises:
        InputError: the model cannot be loaded, or it does not fit its description.
    """

    spec: TextEncoderSpec | ImageEncoderSpec
    dim: int

    def __init__(
        self,
        folder: Path,
        spec: TextEncoderSpec | ImageEncoderSpec,
        parts: list[Path],
        threads: int,
    ) -> None:
        path = folder / spec.model
        self.spec = spec
        self.name = str(path)
        self.model = path
        self.parts = parts
        try:
            self._session = open_session(path, threads, ("CPUExecutionProvider",))
        except Exception as error:  # no common base class
            raise InputError(
                f"{path}: cannot be loaded as an encoder ({_first_line(error)})"
            ) from error
        self._inputs = {i.name: i for i in self._session.get_inputs()}
        outputs = [o.name for o in self._session.get_outputs()]
        self._output = self._known(spec.output or outputs[0], outputs, "output")

    def _known(self, name: str, names: Sequence[str], what: str) -> str:
        if name not in names:
            raise InputError(f"{self.name}: no {what} {name!r}; it has {', '.join(names)}")
        return name

    def _probe(self, example: Prepared) -> int:
        try:
            return int(self.encode([example]).shape[1])
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.name}: does not fit its {SPEC_FILE} ({_first_line(error)})"
            ) from error

    def _run(self, feed: dict[str, NDArray[Any]]) -> Floats:
        typed = {n: a.astype(_DTYPES[self._inputs[n].type], copy=False) for n, a in feed.items()}
        return np.asarray(self._session.run([self._output], typed)[0], np.float32)

    def encode(self, batch: Sequence[Prepared]) -> Floats:
        """Vectors [B, F] of prepared items. A model with a fixed batch size of 1 runs B times."""
        fixed = next(iter(self._inputs.values())).shape[0] == 1
        groups = [[item] for item in batch] if fixed else [batch]
        vectors = np.concatenate([self._encode(group) for group in groups])
        if self.spec.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    @abstractmethod
    def prepare(self, content: bytes) -> Prepared:
        """Content of one item, prepared for `encode`; raises UnreadableError with the reason."""

    @abstractmethod
    def _encode(self, batch: Sequence[Prepared]) -> Floats: ...


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
