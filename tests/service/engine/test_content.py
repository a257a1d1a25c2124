"""Content encoders of the service: the work of a request ends with the request."""

import asyncio
import threading
from pathlib import Path

import pytest

from bundle.content.encoders import TextEncoder
from bundle.content.onnx_model import Prepared
from service.engine.content import ContentEncoders, Features
from tests.support.data.content_encoders import WORDS, word_encoder, word_vectors


def test_nothing_more_is_encoded_of_a_request_that_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = word_encoder(tmp_path / "text", 4)
    prepare, seen = TextEncoder.prepare, []
    started, release = threading.Event(), threading.Event()

    def held(self: TextEncoder, content: bytes) -> Prepared:
        seen.append(content)
        started.set()
        release.wait()
        return prepare(self, content)

    async def run() -> Features:
        async with ContentEncoders({"text": folder}, threads=1) as encoders:
            with monkeypatch.context() as patch:
                patch.setattr(TextEncoder, "prepare", held)
                many = asyncio.create_task(
                    encoders.encode([{"text": "red"}] * 50, ["content"] * 50)
                )
                await asyncio.to_thread(started.wait)
                many.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await many
                other = asyncio.create_task(encoders.encode([{"text": "blue"}], ["content"]))
                release.set()
                return (await other)[0]

    features = asyncio.run(run())
    assert seen == [b"red", b"blue"]
    assert features["text"].tolist() == word_vectors(4)[WORDS["blue"]].tolist()
