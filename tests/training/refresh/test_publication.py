"""The store and the log around a refresh: what is written, kept and refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.errors import StoreError
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.event_logs import (
    StateWriter,
    archived_events,
    event,
    history_of,
    random_events,
    run_refresh,
    store_with_bundle,
)
from tests.support.running.object_stores import StoreBackend, skip_lease_settling
from training.refresh.pipeline import Outcome
from training.refresh.redis_client import RedisOptions
from training.refresh.sources import open_source


def test_a_dry_run_compares_and_writes_nothing(
    store: BundleStore, state_writer: StateWriter
) -> None:
    state_writer.add_events(random_events(np.random.default_rng(0), 200))
    before = sorted(path for path in Path(store.root).rglob("*") if "lock" not in path.name)
    outcome = run_refresh(store, dry_run=True)
    assert outcome.version is None
    assert outcome.report is not None
    assert outcome.report.comparison.users > 0
    assert sorted(path for path in Path(store.root).rglob("*") if "lock" not in path.name) == before
    assert run_refresh(store).version == store.current()


@pytest.mark.slow
def test_a_store_in_an_object_store(
    s3_backend: StoreBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_lease_settling(monkeypatch)
    store = s3_backend.store()
    first = store.copy(store_with_bundle(tmp_path / "store"))
    state_writer = StateWriter(tmp_path)
    state_writer.add_events([event("user-1", "item-1"), event("new", "item-2")])
    dry = run_refresh(store, state_writer.path, dry_run=True)
    assert (dry.version, store.current()) == (None, first)
    assert not [name for name in s3_backend.objects() if name.startswith(("events", "reports"))]
    second = run_refresh(store, state_writer.path).version
    assert store.current() == second
    assert "new" in s3_backend.store(tmp_path / "another-cache").load().users
    assert run_refresh(store, state_writer.path) == Outcome(None, None)
    state_writer.erase_user("new")
    third = run_refresh(store, state_writer.path).version
    assert "new" not in store.load(third).users
    [part] = [name for name in s3_backend.objects() if name.startswith("events")]
    assert b"new" not in s3_backend.read(part)
    assert f"reports/{third}.html" in s3_backend.objects()
    s3_backend.write(part, b"no Parquet")
    with pytest.raises(StoreError, match=rf"^{s3_backend.url}/{part}: "):
        run_refresh(store, state_writer.path)
    assert not [name for name in s3_backend.objects() if name.startswith("locks")]


def test_a_refresh_is_refused_during_another_and_after_a_publication(
    store: BundleStore, state_writer: StateWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_writer.add_events([event("user-1", "item-1")])
    with store.alone("refresh"), pytest.raises(StoreError, match="another process is refreshing"):
        run_refresh(BundleStore(store.root))
    # Another bundle is published during a refresh.
    publish = BundleStore.publish

    def late(self: BundleStore, *arguments: Any) -> str:
        publish(self, make_contents(60, 40, 8, rng=np.random.default_rng(5)))
        return publish(self, *arguments)

    monkeypatch.setattr(BundleStore, "publish", late)
    with pytest.raises(StoreError, match="another bundle was published in the meantime"):
        run_refresh(store)
    assert store.load().manifest.taken.events == 0


def test_events_leave_the_log_when_a_live_bundle_has_them(
    store: BundleStore, state_writer: StateWriter
) -> None:
    state_writer.add_events([event("user-1", "item-1")])
    log = open_source(str(state_writer.path), RedisOptions())
    run_refresh(store)
    assert [len(page.events) for page in log.read({})] == [1], "kept for a week"
    state_writer.add_events([event("user-1", "item-2")])
    run_refresh(store, keep_seconds=0.0)
    assert list(log.read({})) == []
    assert len(archived_events(store)) == 2
    # The bundle before is live again: the archive has what the log has not.
    store.rollback(store.versions()[0])
    run_refresh(store)
    assert {"item-1": 1.0, "item-2": 1.0}.items() <= history_of(store.load(), "user-1").items()


def test_a_store_without_a_bundle_and_a_lost_part_are_refused(
    store: BundleStore, state_writer: StateWriter, tmp_path: Path
) -> None:
    for number in range(2):
        state_writer.add_events([event("user-1", f"item-{number}")])
        run_refresh(store)
    with pytest.raises(StoreError, match="nothing is published"):
        run_refresh(BundleStore(tmp_path / "empty"), state_writer.path)
    (Path(store.root) / "events" / "00000001.parquet").unlink()
    state_writer.add_events([event("user-1", "item-5")])
    with pytest.raises(StoreError, match="part 1 is missing"):
        run_refresh(store)
    part = Path(store.root) / "events" / "00000002.parquet"
    part.rename(part.with_name("00000001.parquet"))
    with pytest.raises(StoreError, match="part 2 is missing"):
        run_refresh(store)
    assert len(archived_events(store)) == 1, (
        "nothing is written under a number that counts as known"
    )
    shutil.rmtree(Path(store.root) / "events")
    (Path(store.root) / "events").mkdir()
    (Path(store.root) / "events" / "00000001.parquet").write_bytes(b"no table")
    with pytest.raises(StoreError, match="is not a part of an event archive"):
        run_refresh(store)
