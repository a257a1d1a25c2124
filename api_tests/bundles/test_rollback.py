"""A rollback by the command line, which every replica follows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import StartService
from tests.support.waiting import wait_until


@pytest.mark.slow
def test_a_rollback_is_seen_by_all_replicas(start: StartService, tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "own-store")
    first, second = (
        store.publish(make_contents(60, 40, 8, rng=np.random.default_rng(seed))) for seed in (1, 2)
    )
    replicas = [start(store=store.root, reload_poll=0.1) for _ in range(2)]

    def serve(version: str) -> bool:
        def answered_by(replica: RunningService) -> str:
            answer = replica.get("/recommend/user-5")
            assert answer.status_code == 200
            return str(answer.json()["bundle_version"])

        return all(answered_by(replica) == version for replica in replicas)

    assert serve(second)
    command = ["bundles", "rollback", first, "--store", str(store.root)]
    subprocess.run([sys.executable, "-m", "training", *command], check=True, capture_output=True)
    wait_until(lambda: serve(first), "both replicas")
    for replica in replicas:
        assert replica.metric("bundle_info", version=first) == 1
        assert replica.metric("bundles_refused_total") == 0
