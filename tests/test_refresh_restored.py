"""A refresh after something was lost, and perhaps restored from a copy."""

import shutil
from pathlib import Path

import pytest
from happenings import Happenings, event, history_of, run, served_store

from bundle.errors import StoreError
from bundle.store import BundleStore


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return served_store(tmp_path / "store")


@pytest.fixture
def happens(store: BundleStore) -> Happenings:
    return Happenings(store.root)


def test_what_comes_after_an_older_copy_of_the_log_was_restored_counts(store, happens, tmp_path):
    happens.events([event("early", "item-1")])
    copy = tmp_path / "copy.sqlite3"
    shutil.copyfile(happens.path, copy)
    happens.events([event(f"user-{n}", "item-2") for n in range(20)])
    run(store)
    for path in store.root.glob("state.sqlite3*"):
        path.unlink()
    shutil.copyfile(copy, happens.path)
    happens.events([event("late", "item-3")])
    run(store)
    after = store.load()
    assert history_of(after, "late") == {"item-3": 1}
    assert history_of(after, "early") == {"item-1": 1}
    assert "item-2" in history_of(after, "user-19")


def test_a_refresh_goes_on_where_the_whole_archive_was_lost(store, happens, tmp_path):
    """What is still in the log is read again, which changes nothing; what is new counts."""
    for number in range(2):
        happens.events([event("user-1", f"item-{number}")])
        run(store)
    lost = (store.root / "events").rename(tmp_path / "events")
    before = store.load()
    happens.events([event("late", "item-5")])
    run(store)
    after = store.load()
    assert [path.name for path in (store.root / "events").iterdir()] == ["00000003.parquet"]
    assert after.manifest.taken.events == 3
    assert history_of(after, "late") == {"item-5": 1}
    assert history_of(after, "user-1") == history_of(before, "user-1")
    happens.erase("user-1")
    run(store)
    assert "user-1" not in store.load().users
    # What is found again later comes in as a file.
    happens.events([event("later", "item-6")])
    run(store, happens.path, lost)
    assert history_of(store.load(), "later") == {"item-6": 1}
    assert "user-1" not in store.load().users
    (store.root / "events" / "00000003.parquet").unlink()
    with pytest.raises(StoreError, match="part 3 is missing"):
        run(store)
