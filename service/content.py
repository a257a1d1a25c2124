"""Features of new items from their texts and pictures, where content encoders are configured.

They are those with which `python -m training features` made the features that the bundle was
trained on. What is kept and sent to other replicas are features: those need no encoders.

Imported when `--content-encoders` asks for it: it needs the packages of `drepmrec[content]`.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bundle.content.encoders import load_encoder
from bundle.content.pictures import MAX_BYTES, UnreadableError, quiet_pillow
from bundle.errors import InputError
from bundle.loading import Bundle
from service.errors import InvalidParameterError

Features = dict[str, NDArray[np.float32]]


class ContentEncoders:
    """Encoders by modality; `async with` them.

    One thread does all of the encoding: it must not take the cores from searches.

    Args:
        folders: of each modality the folder of its `encoder.json`.
        threads: of ONNX Runtime.

    Raises:
        InputError: an encoder cannot be loaded.
    """

    def __init__(self, folders: Mapping[str, Path], threads: int) -> None:
        self._encoders = {name: load_encoder(folder, threads) for name, folder in folders.items()}
        self._stack = ExitStack()

    @property
    def kinds(self) -> dict[str, Literal["text", "image"]]:
        """What each modality's features are made of."""
        return {name: encoder.spec.kind for name, encoder in self._encoders.items()}

    def check(self, bundle: Bundle) -> None:
        """Compare with what a bundle's item encoder takes.

        Raises:
            InputError: it has no such modality, or one of another width.
        """
        for name, encoder in self._encoders.items():
            width = bundle.manifest.modalities.get(name)
            if width is None:
                there = ", ".join(bundle.manifest.modalities)
                raise InputError(
                    f"content encoder {name}: the bundle has no such modality, {there}"
                )
            if width != encoder.dim:
                raise InputError(
                    f"content encoder {name}: makes {encoder.dim} numbers, the bundle has {width}"
                )

    async def __aenter__(self) -> "ContentEncoders":
        """Begin."""
        self._stack.enter_context(quiet_pillow())
        self._thread = self._stack.enter_context(ThreadPoolExecutor(1, "content"))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for what is being encoded."""
        self._thread.shutdown(cancel_futures=True)
        self._stack.close()

    async def encode(
        self, contents: Sequence[Mapping[str, str]], fields: Sequence[str]
    ) -> list[Features]:
        """The features [F_m] of each modality that an item has content of.

        Args:
            contents: of each item by modality a text, or a picture file in base64.
            fields: of each item the parameter that an error blames.

        Raises:
            InvalidParameterError: a modality has no encoder, or content cannot be read.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._encode, contents, fields)

    def _encode(
        self, contents: Sequence[Mapping[str, str]], fields: Sequence[str]
    ) -> list[Features]:
        return [
            {name: self._one(name, text, f"{field}.{name}") for name, text in content.items()}
            for content, field in zip(contents, fields, strict=True)
        ]

    def _one(self, name: str, given: str, field: str) -> NDArray[np.float32]:
        encoder = self._encoders.get(name)
        if encoder is None:
            there = ", ".join(self._encoders)
            raise InvalidParameterError(f"{field}: there are encoders of {there}", field)
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
        raw = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableError("is no base64") from None
    if len(raw) > MAX_BYTES:
        raise UnreadableError(f"larger than {MAX_BYTES >> 20} MiB")
    return raw
