"""SIGKILL at any moment of a refresh: the store can be served, the next refresh ends the same."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bundle.catalogue.overlay import ItemChange
from bundle.store.store import BundleStore
from tests.support.data.event_logs import (
    StateWriter,
    assert_same,
    features,
    random_events,
    store_with_bundle,
)
from tests.support.running.processes import count_files
from tests.support.waiting import DEADLINE

FORKER = """
import os, sys
import training.refresh.encoding.spill
training.refresh.encoding.spill.BLOCK_USERS = 8  # many blocks, so that a kill finds some done
from matplotlib.figure import Figure
from bundle.store.store import BundleStore
from training.refresh.sources import open_source
from training.refresh.redis_client import RedisOptions
from training.refresh.pipeline import RefreshOptions, refresh_bundle

def one(root):
    source = open_source(f"{root}/state.sqlite3", RedisOptions())
    options = RefreshOptions(say=lambda line: None, forced="not what this is about")
    refresh_bundle(BundleStore(root), [source], options)

while line := sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        one(line.strip())
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()  # not reaped before, so that a kill cannot hit another process
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Refreshes in processes of their own, which need not import everything first."""


class Refresher:
    """Starts refreshes, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def close(self) -> None:
        self._orders.close()
        self._process.wait(DEADLINE)
        self._answers.close()

    def start(self, store: Path) -> int:
        """The process that refreshes."""
        self._orders.write(f"{store}\n")
        self._orders.flush()
        return int(self._answers.readline())

    def ended(self) -> int:
        """Exit code of the process that was started last."""
        self._orders.write("\n")
        self._orders.flush()
        return int(self._answers.readline())

    def finish(self, store: Path) -> float:
        """Refresh to the end; the seconds that it took."""
        started = time.monotonic()
        self.start(store)
        assert self.ended() == 0
        return time.monotonic() - started


@pytest.fixture
def refresher() -> Iterator[Refresher]:
    one = Refresher()
    yield one
    one.close()


MOMENTS: list[Callable[[Path], bool] | None] = [
    None,  # any
    lambda root: (root / "events").exists(),
    lambda root: count_files(root, "run/refresh/**/users-*.npz") > 0,
    lambda root: count_files(root, "bundles/.staging-*") > 0,
]
"""Moments of the kill: as soon as the refresh has written something, or after a random time."""


def runs(pid: int) -> bool:
    """True if a child has not ended; it is a zombie when it has."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_kill_9_at_any_moment(refresher: Refresher, tmp_path: Path) -> None:
    store = store_with_bundle(tmp_path / "store")
    before = store.current()
    state_writer = StateWriter(Path(store.root))
    rng = np.random.default_rng(0)
    state_writer.add_events(random_events(rng, 400))
    state_writer.erase_user("user-7")
    state_writer.change_items(
        ItemChange("item-3", deleted=True), ItemChange("fresh", features=features(rng, text=4))
    )
    reference = tmp_path / "reference"
    shutil.copytree(store.root, reference)
    seconds = refresher.finish(reference)
    expected = BundleStore(reference).load()
    stages = set()
    for number in range(8):
        root = tmp_path / f"store-{number}"
        shutil.copytree(store.root, root)
        for _ in range(2):
            process = refresher.start(root)
            end = time.monotonic() + rng.uniform(0, 1.1 * seconds)
            moment = MOMENTS[number % len(MOMENTS)]
            while runs(process) and not (moment(root) if moment else time.monotonic() > end):
                time.sleep(0.001)
            os.kill(process, signal.SIGKILL)
            assert refresher.ended() in (0, -signal.SIGKILL)
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
        refresher.finish(root)
        assert_same(BundleStore(root).load(), expected)
        assert not list((root / "bundles").glob(".staging-*"))
    assert len(stages) >= 3, f"the kills hit the same moments: {stages}"
