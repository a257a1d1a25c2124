"""Encoders of titles and pictures: any ONNX model that an `encoder.json` describes.

Shapes: B items of a batch, L tokens of its longest text, F features.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bundle.content.decoder import PictureDecoder
from bundle.content.onnx_model import ContentEncoder, Prepared
from bundle.content.specs import ImageEncoderSpec, TextEncoderSpec, read_spec
from bundle.errors import InputError
from bundle.types import Floats


class TextEncoder(ContentEncoder):
    """Encoder of UTF-8 texts."""

    spec: TextEncoderSpec

    def __init__(self, folder: Path, spec: TextEncoderSpec, threads: int) -> None:
        tokenizer = folder / spec.tokenizer
        super().__init__(folder, spec, [tokenizer], threads)
        self._names = [n for n in (spec.ids_input, spec.mask_input, spec.types_input) if n]
        for name in self._names:
            self._known(name, list(self._inputs), "input")
        length = self._inputs[spec.ids_input].shape[1]
        self._length = length if isinstance(length, int) else None
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{tokenizer}: not a tokenizer.json ({error})") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(min(spec.max_length, self._length or spec.max_length))
        self.dim = self._probe(self.prepare(b"a title"))

    def prepare(self, content: bytes) -> Prepared:
        """Token ids [≤ max_length] int64."""
        return np.asarray(self._tokenizer.encode(content.decode()).ids, np.int64)

    def _encode(self, batch: Sequence[Prepared]) -> Floats:
        length = self._length or max(1, *(len(ids) for ids in batch))
        ids = np.zeros((len(batch), length), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        values = {
            self.spec.ids_input: ids,
            self.spec.mask_input: mask,
            self.spec.types_input: np.zeros_like(ids),
        }
        states = self._run({name: values[name] for name in self._names})
        wanted = 2 if self.spec.pooling == "none" else 3
        if states.ndim != wanted:
            raise InputError(
                f"{self.name}: pooling {self.spec.pooling!r} needs an output of {wanted} "
                f"dimensions, not {states.ndim}"
            )
        match self.spec.pooling:
            case "none":
                return states
            case "cls":
                return states[:, 0]
            case "mean":
                weight = mask[..., None].astype(np.float32)
                return np.asarray((states * weight).sum(1) / np.maximum(weight.sum(1), 1))


class ImageEncoder(ContentEncoder):
    """Encoder of picture files."""

    spec: ImageEncoderSpec

    def __init__(self, folder: Path, spec: ImageEncoderSpec, threads: int) -> None:
        super().__init__(folder, spec, [], threads)
        names = list(self._inputs)
        self._input = self._known(spec.input or names[0], names, "input")
        self._mean = np.asarray(spec.mean, np.float32) * 255
        self._std = np.asarray(spec.std, np.float32) * 255
        red, green, blue = (round(255 * min(max(m, 0.0), 1.0)) for m in spec.mean)
        self._decoder = PictureDecoder(spec.size, spec.resize, (red, green, blue))
        self.dim = self._probe(self._pixels(np.zeros((spec.size, spec.size, 3), np.uint8)))

    def prepare(self, content: bytes) -> Prepared:
        """Pixels float32, [3, size, size] or [size, size, 3]."""
        return self._pixels(self._decoder.decode(content))

    def _pixels(self, rgb: NDArray[np.uint8]) -> Prepared:
        pixels = (rgb.astype(np.float32) - self._mean) / self._std
        return pixels.transpose(2, 0, 1) if self.spec.layout == "NCHW" else pixels

    def _encode(self, batch: Sequence[Prepared]) -> Floats:
        vectors = self._run({self._input: np.stack(batch)})
        if vectors.ndim < 2 or vectors.size != vectors.shape[0] * vectors.shape[1]:
            raise InputError(f"{self.name}: output is {list(vectors.shape)}, not [B, F]")
        return vectors.reshape(len(batch), -1)


def load_encoder(folder: Path, threads: int) -> TextEncoder | ImageEncoder:
    """The encoder that is described by `folder/encoder.json`.

    Args:
        folder: folder with the description, the model and its further files.
        threads: number of threads of ONNX Runtime.

    Raises:
        InputError: the description is wrong, or the model cannot be loaded or does not fit it.
    """
    match read_spec(folder):
        case TextEncoderSpec() as spec:
            return TextEncoder(folder, spec, threads)
        case ImageEncoderSpec() as spec:
            return ImageEncoder(folder, spec, threads)
