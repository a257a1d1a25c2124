"""A refresh after the log or the archive was lost, or restored from a copy."""

import shutil
from pathlib import Path

import pytest

from bundle.errors import StoreError
from bundle.store.store import BundleStore
from tests.support.data.event_logs import (
    StateWriter,
    event,
    history_of,
    run_refresh,
)


@pytest.mark.slow
def test_events_after_the_restore_of_an_older_log_count(
    store: BundleStore, state_writer: StateWriter, tmp_path: Path
) -> None:
    state_writer.add_events([event("early", "item-1")])
    copy = tmp_path / "copy.sqlite3"
    shutil.copyfile(state_writer.path, copy)
    state_writer.add_events([event(f"user-{n}", "item-2") for n in range(20)])
    run_refresh(store)
    for path in Path(store.root).glob("state.sqlite3*"):
        path.unlink()
    shutil.copyfile(copy, state_writer.path)
    state_writer.add_events([event("late", "item-3")])
    run_refresh(store)
    after = store.load()
    assert history_of(after, "late") == {"item-3": 1}
    assert history_of(after, "early") == {"item-1": 1}
    assert "item-2" in history_of(after, "user-19")


def test_a_refresh_continues_after_the_loss_of_the_archive(
    store: BundleStore, state_writer: StateWriter, tmp_path: Path
) -> None:
    """Events that are still in the log are read again and change nothing; new ones count."""
    for number in range(2):
        state_writer.add_events([event("user-1", f"item-{number}")])
        run_refresh(store)
    lost = (Path(store.root) / "events").rename(tmp_path / "events")
    before = store.load()
    state_writer.add_events([event("late", "item-5")])
    run_refresh(store)
    after = store.load()
    assert [path.name for path in (Path(store.root) / "events").iterdir()] == ["00000003.parquet"]
    assert after.manifest.taken.events == 3
    assert history_of(after, "late") == {"item-5": 1}
    assert history_of(after, "user-1") == history_of(before, "user-1")
    state_writer.erase_user("user-1")
    run_refresh(store)
    assert "user-1" not in store.load().users
    # What is found again later comes in as a file.
    state_writer.add_events([event("later", "item-6")])
    run_refresh(store, state_writer.path, lost)
    assert history_of(store.load(), "later") == {"item-6": 1}
    assert "user-1" not in store.load().users
    (Path(store.root) / "events" / "00000003.parquet").unlink()
    with pytest.raises(StoreError, match="part 3 is missing"):
        run_refresh(store)
