"""The size that indexes may have: given to a refresh, kept by the next."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.event_logs import StateWriter, event, run_refresh
from training.cli.options import index_budget


@pytest.mark.slow
def test_a_refresh_keeps_the_kind_of_index_until_it_gets_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundle.format.index.EXACT_BELOW", 1_000)
    store = BundleStore(tmp_path / "store")
    contents = make_contents(60, 1_500, 16, rng=np.random.default_rng(0))
    store.publish(replace(contents, index_budget=1_500 * 2 * 24))
    assert store.load().manifest.index.kind == "ivf_sq8"
    writer = StateWriter(tmp_path / "store")
    for n, (options, kind) in enumerate(
        [
            ({}, "ivf_sq8"),
            ({"index_budget": index_budget(1)}, "ivf"),
            ({}, "ivf"),
            ({"index_budget": 0}, "ivf_pq"),
            ({}, "ivf_pq"),
        ]
    ):
        writer.add_events([event(f"user-{n}", "item-7")])
        run_refresh(store, forced="events of one user", **options)
        assert store.load().manifest.index.kind == kind
