"""Users encoded by several processes: the same bundle, and an error if one of them ends."""

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bundle.store.store import BundleStore
from tests.support.data.event_logs import StateWriter, assert_same, random_events, run_refresh
from tests.support.waiting import wait_until
from training.refresh.encoding import plan, spill
from training.refresh.encoding.blocks import WorkerError

pytestmark = pytest.mark.slow


@pytest.fixture
def stores(
    store: BundleStore,
    state_writer: StateWriter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[BundleStore, BundleStore]:
    """Two equal stores with new events, of several blocks of users."""
    for module in (plan, spill):
        monkeypatch.setattr(module, "BLOCK_USERS", 8)
    state_writer.add_events(random_events(np.random.default_rng(0), 300))
    other = tmp_path / "other"
    shutil.copytree(store.root, other)
    return store, BundleStore(other)


def workers() -> list[int]:
    """Processes that encode users for this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            command = (process / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        if parent == os.getpid() and "spawn_main" in command:
            found.append(int(process.name))
    return found


def test_it_makes_no_difference_which_process_encodes(
    stores: tuple[BundleStore, BundleStore],
) -> None:
    for processes, store in enumerate(stores, 1):
        run_refresh(store, processes=processes)
    assert_same(*(store.load() for store in stores))


def test_a_worker_that_is_killed_ends_the_refresh_and_the_next_run_continues(
    stores: tuple[BundleStore, BundleStore],
) -> None:
    store, other = stores
    before = store.current()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run_refresh, store, processes=2)
        wait_until(workers, "a process that encodes")
        os.kill(workers()[0], signal.SIGKILL)
        with pytest.raises(WorkerError, match="fewer --processes"):
            running.result()
    assert store.current() == before
    assert not workers()
    run_refresh(store)
    run_refresh(other)
    assert_same(store.load(), other.load())
