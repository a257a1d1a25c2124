"""Encoders of a refresh on the CPU or on a GPU, and the error if there is none."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import pytest

import bundle.onnx_runtime
from bundle.errors import InputError
from bundle.onnx_runtime import CPU, CUDA
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.event_logs import StateWriter, event, store_with_bundle
from training.refresh.pipeline import RefreshOptions, load_live, refresh_bundle
from training.refresh.redis_client import RedisOptions
from training.refresh.sources import open_source


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
def test_the_device_decides_where_encoders_run(
    store: BundleStore,
    monkeypatch: pytest.MonkeyPatch,
    device: Literal["auto", "cpu", "cuda"],
    usable: bool,
    asked: list[str],
    provider: str,
) -> None:
    runtime = OrtWithGpu(usable)
    monkeypatch.setattr(bundle.onnx_runtime, "runtime", lambda: runtime)
    found = load_live(store, RefreshOptions(device=device))
    assert runtime.asked == [asked, asked, [CPU]]  # the last one searches
    assert found.user_encoder.provider == provider


def test_a_gpu_that_cannot_be_used_is_an_error(
    store: BundleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = OrtWithGpu(usable=False)
    monkeypatch.setattr(bundle.onnx_runtime, "runtime", lambda: runtime)
    for offered in ([CUDA, CPU], [CPU]):
        monkeypatch.setattr(runtime, "get_available_providers", lambda offered=offered: offered)
        with pytest.raises(InputError, match="--device cuda: ONNX Runtime finds no CUDA device"):
            load_live(store, RefreshOptions(device="cuda"))
    assert [asked for asked in runtime.asked if asked != [CPU]] == [[CUDA, CPU]] * 2


def test_a_refresh_names_the_device_of_its_encoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle.onnx_runtime, "runtime", lambda: OrtWithGpu(usable=False))
    store = store_with_bundle(tmp_path / "store")
    StateWriter(Path(store.root)).add_events([event("user-1", "item-1"), event("new", "item-2")])
    source = open_source(str(Path(store.root) / "state.sqlite3"), RedisOptions())
    said: list[str] = []
    with pytest.raises(InputError, match="no CUDA device"):
        refresh_bundle(store, [source], RefreshOptions(device="cuda", say=said.append))
    assert said == []
    refresh_bundle(store, [source], RefreshOptions(device="cpu", say=said.append))
    assert [line for line in said if line.endswith(f"by {CPU}") and "users encoded" in line]
