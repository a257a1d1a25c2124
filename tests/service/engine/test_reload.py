"""Loading of a new bundle where memory is short."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bundle.store.store import BundleStore
from service.engine.reload import Reloader
from service.observability.metrics import Metrics
from tests.support.data.bundles import make_contents


def test_a_bundle_that_does_not_fit_into_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = BundleStore(tmp_path)
    first, second = (
        store.publish(make_contents(300, 250, 16, rng=np.random.default_rng(seed)))
        for seed in (1, 2)
    )
    monkeypatch.setattr("service.engine.reload.available_memory", lambda: 1000)
    metrics = Metrics()
    bundle = SimpleNamespace(version=first)
    runtime: Any = SimpleNamespace(engine=SimpleNamespace(bundle=bundle), metrics=metrics)

    def load(_: str) -> Any:
        raise AssertionError("the bundle must not be loaded")

    reloader = Reloader(runtime, store, load, 0)
    outcome = asyncio.run(reloader.look())
    assert (outcome.outcome, outcome.version) == ("refused", first)
    assert second in (outcome.reason or "")
    assert b'bundles_refused_total{reason="memory"} 1.0' in metrics.render()
