"""kill -9 at any moment of a refresh leaves a servable store, and the next run ends the same."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from happenings import Happenings, features, random_events, served_store

from bundle.loading import Bundle
from bundle.overlay import ItemChange
from bundle.store import BundleStore

REFRESHER = """
import sys
import training.refresh.spill
training.refresh.spill.BLOCK_USERS = 8  # many blocks, so that a kill finds some done
from matplotlib.figure import Figure
from bundle.store import BundleStore
from training.refresh.drops import open_source
from training.refresh.redis_client import RedisOptions
from training.refresh.round import RefreshOptions, refresh
store = BundleStore(sys.argv[1])
print("ready", flush=True)
source = open_source(f"{sys.argv[1]}/state.sqlite3", RedisOptions())
options = RefreshOptions(say=lambda line: None, forced="not what this is about")
print(refresh(store, [source], options).version, flush=True)
"""


def start(store: Path) -> subprocess.Popen[bytes]:
    search_path = os.pathsep.join(p for p in sys.path if p)
    process = subprocess.Popen(
        [sys.executable, "-c", REFRESHER, str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": search_path},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def finish(store: Path) -> float:
    """Run to the end; the seconds that it took."""
    started = time.monotonic()
    with start(store) as process:
        started = time.monotonic()
        assert process.wait(60) == 0
    return time.monotonic() - started


def same(one: Bundle, other: Bundle) -> None:
    assert one.users.ids == other.users.ids
    assert one.items.ids == other.items.ids
    assert one.item_table.equals(other.item_table)
    assert one.manifest.taken == other.manifest.taken
    for name in ("user_vectors", "item_vectors", "item_parts", "seen_weights", "popularity"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.seen.indptr, other.seen.indptr)
    np.testing.assert_array_equal(one.seen.indices, other.seen.indices)


def test_kill_9_at_any_moment(tmp_path):
    store = served_store(tmp_path / "store")
    before = store.current()
    happens = Happenings(store.root)
    rng = np.random.default_rng(0)
    happens.events(random_events(rng, 400))
    happens.erase("user-7")
    happens.items(
        ItemChange("item-3", deleted=True), ItemChange("fresh", features=features(rng, text=4))
    )
    reference = tmp_path / "reference"
    shutil.copytree(store.root, reference)
    seconds = finish(reference)
    expected = BundleStore(reference).load()
    stages = set()
    for number in range(8):
        root = tmp_path / f"store-{number}"
        shutil.copytree(store.root, root)
        for _ in range(2):
            with start(root) as process:
                time.sleep(rng.uniform(0, 1.1 * seconds))
                process.send_signal(signal.SIGKILL)
            killed = BundleStore(root)
            for version in killed.versions():
                killed.verify(version)
            live = killed.load().version
            work = root / "run" / "refresh"
            stages.add(
                (
                    live == before,
                    (root / "events").exists(),
                    any(work.rglob("users-*.npz")),
                    any((root / "bundles").glob(".staging-*")),
                )
            )
        finish(root)
        same(BundleStore(root).load(), expected)
        assert not list((root / "bundles").glob(".staging-*"))
    assert len(stages) >= 3, f"the kills hit the same moments: {stages}"
