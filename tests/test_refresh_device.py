"""A refresh encodes on the CPU or on a GPU, and says when it cannot."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from bundle_builders import make_contents
from happenings import Happenings, event, served_store

import bundle.onnx
from bundle.encoders import CPU, CUDA
from bundle.errors import InputError
from bundle.store import BundleStore
from training.refresh.device import encoders_on
from training.refresh.drops import open_source
from training.refresh.redis_client import RedisOptions
from training.refresh.round import RefreshOptions, refresh


class OrtWithGpu:
    """ONNX Runtime as it looks on a machine with a GPU; sessions run on the CPU.

    Args:
        usable: whether CUDA can be started; if not, ONNX Runtime goes on without it.
    """

    SessionOptions = ort.SessionOptions

    def __init__(self, usable: bool) -> None:
        self.usable = usable
        self.asked: list[list[str]] = []

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def preload_dlls(self) -> None:
        """There is nothing to load."""

    def InferenceSession(  # noqa: N802
        self, path: str, options: Any, providers: list[str]
    ) -> Any:
        self.asked.append(providers)
        session = ort.InferenceSession(path, options, providers=[CPU])
        if self.usable and providers[0] == CUDA:
            session.get_providers = lambda: providers
        return session


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    store = BundleStore(tmp_path)
    store.publish(make_contents(20, 10, 8, rng=np.random.default_rng(0)))
    return store


@pytest.mark.parametrize(
    ("device", "usable", "asked", "provider"),
    [
        ("auto", True, [CUDA, CPU], CUDA),
        ("auto", False, [CUDA, CPU], CPU),
        ("cpu", True, [CPU], CPU),
        ("cuda", True, [CUDA, CPU], CUDA),
    ],
)
def test_encoders_run_where_they_should(store, monkeypatch, device, usable, asked, provider):
    loaded = store.load()
    runtime = OrtWithGpu(usable)
    monkeypatch.setattr(bundle.onnx, "ort", runtime)
    found = encoders_on(loaded, device, 1)
    assert runtime.asked == [asked, asked]
    assert found.user_encoder.provider == provider
    assert found.item_vectors is loaded.item_vectors


def test_a_gpu_that_cannot_be_used_is_no_silent_cpu(store, monkeypatch):
    loaded = store.load()
    runtime = OrtWithGpu(usable=False)
    monkeypatch.setattr(bundle.onnx, "ort", runtime)
    for offered in ([CUDA, CPU], [CPU]):
        monkeypatch.setattr(runtime, "get_available_providers", lambda offered=offered: offered)
        with pytest.raises(InputError, match="--device cuda: ONNX Runtime finds no CUDA device"):
            encoders_on(loaded, "cuda", 1)
    assert runtime.asked == [[CUDA, CPU], [CPU]]


def test_a_refresh_says_what_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle.onnx, "ort", OrtWithGpu(usable=False))
    store = served_store(tmp_path / "store")
    Happenings(store.root).events([event("user-1", "item-1"), event("new", "item-2")])
    source = open_source(str(store.root / "state.sqlite3"), RedisOptions())
    said: list[str] = []
    with pytest.raises(InputError, match="no CUDA device"):
        refresh(store, [source], RefreshOptions(device="cuda", say=said.append))
    assert said == []
    refresh(store, [source], RefreshOptions(device="cpu", say=said.append))
    assert [line for line in said if line.endswith(f"by {CPU}") and "users encoded" in line]
