"""Content encoders: features of new items from their texts and images.

The encoders must be those with which `python -m training features` extracted the features that the
bundle was trained on. Only features are stored and shared, so other replicas need no encoders.

Imported only with `--content-encoders`: it needs the packages of `drepmrec[content]`.
"""

import asyncio
import binascii
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bundle.content.encoders import load_encoder
from bundle.content.pictures import MAX_BYTES, UnreadableError
from bundle.errors import InputError
from bundle.format.reader import Bundle
from service.errors import InvalidParameterError

Features = dict[str, NDArray[np.float32]]


class ContentEncoders:
    """Encoders by modality; `async with` them.

    One thread does all encoding, one content after another in the order of their arrival, so that
    cores are left for searches. Pictures are decoded within a budget (`bundle.content.decoder`),
    and nothing more is encoded of a request that has timed out.

    Args:
        folders: the folder of each modality's `encoder.json`.
        threads: number of threads of ONNX Runtime.

    Raises:
        InputError: an encoder cannot be loaded.
    """

    def __init__(self, folders: Mapping[str, Path], threads: int) -> None:
        self._encoders = {name: load_encoder(folder, threads) for name, folder in folders.items()}

    @property
    def kinds(self) -> dict[str, Literal["text", "image"]]:
        """The kind of content of each modality."""
        return {name: encoder.spec.kind for name, encoder in self._encoders.items()}

    def check(self, bundle: Bundle) -> None:
        """Check that the encoders fit a bundle's item encoder.

        Raises:
            InputError: the bundle lacks a modality, or has it with another number of features.
        """
        for name, encoder in self._encoders.items():
            width = bundle.manifest.modalities.get(name)
            if width is None:
                there = ", ".join(bundle.manifest.modalities)
                raise InputError(
                    f"content encoder {name}: the bundle has no such modality, only {there}"
                )
            if width != encoder.dim:
                raise InputError(
                    f"content encoder {name}: makes {encoder.dim} features, the bundle has {width}"
                )

    async def __aenter__(self) -> "ContentEncoders":
        """Start the thread."""
        self._thread = ThreadPoolExecutor(1, "content")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for the content that is being encoded."""
        self._thread.shutdown(cancel_futures=True)

    async def encode(
        self, contents: Sequence[Mapping[str, str]], fields: Sequence[str]
    ) -> list[Features]:
        """The features [F_m] of each modality that an item has content of.

        Args:
            contents: for each item, by modality, a text or an image file in base64.
            fields: for each item, the name of its parameter for errors.

        Raises:
            InvalidParameterError: a modality has no encoder, or content cannot be read.
        """
        loop = asyncio.get_running_loop()
        return [
            {
                name: await loop.run_in_executor(
                    self._thread, self._one, name, text, f"{field}.{name}"
                )
                for name, text in content.items()
            }
            for content, field in zip(contents, fields, strict=True)
        ]

    def _one(self, name: str, given: str, field: str) -> NDArray[np.float32]:
        encoder = self._encoders.get(name)
        if encoder is None:
            there = ", ".join(self._encoders)
            raise InvalidParameterError(
                f"{field}: no encoder is configured for it, only for {there}", field
            )
        try:
            raw = _picture(given) if encoder.spec.kind == "image" else given.encode()
            vector: NDArray[np.float32] = encoder.encode([encoder.prepare(raw)])[0]
        except UnreadableError as error:
            raise InvalidParameterError(f"{field}: {error}", field) from None
        if not np.isfinite(vector).all():
            raise InvalidParameterError(f"{field}: the encoder's vector is not finite", field)
        return vector


def _picture(given: str) -> bytes:
    try:
        raw = binascii.a2b_base64(given, strict_mode=True)
    except ValueError:
        raise UnreadableError("is not base64") from None
    if len(raw) > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES >> 20} MiB")
    return raw
