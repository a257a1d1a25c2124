"""Copies of an object store's bundles: downloaded once, whole or not there, kept while needed."""

import subprocess
import sys
from pathlib import Path

import pytest
from bundle_builders import publish
from object_stores import ObjectPlace, no_settling, python_environment

from bundle import retention
from bundle.download_cache import default_cache
from bundle.errors import BundleError, StoreError
from bundle.store import BundleStore

LOADER = """
import sys, gc
from pathlib import Path
from bundle.store import BundleStore
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
print(store.load().version, flush=True)
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    no_settling(monkeypatch)


def copy_of(place: ObjectPlace, version: str) -> Path:
    [path] = place.cache.glob(f"*/bundles/{version}")
    return path


def test_many_processes_download_a_bundle_once_and_later_ones_not_at_all(moto, s3_place, tmp_path):
    version = publish(s3_place.store(tmp_path / "publisher"))
    asked = [f"{version}/{name}" for name in s3_place.store().manifest(version).files]
    before = {name: moto.downloads(name) for name in asked}

    def load(processes: int) -> None:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", LOADER, s3_place.url, str(s3_place.cache)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=python_environment(moto.environment),
                text=True,
            )
            for _ in range(processes)
        ]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in running:
            assert process.communicate(timeout=60)[0] == f"{version}\n"
            assert process.returncode == 0

    load(4)
    once = {name: moto.downloads(name) for name in asked}
    assert all(once[name] > before[name] for name in asked)
    load(1)
    assert {name: moto.downloads(name) for name in asked} == once
    again = {n: once[n] - before[n] for n in asked}
    assert set(again.values()) == {1}


def test_what_was_published_here_is_not_downloaded(moto, s3_place):
    version = publish(s3_place.store())
    assert s3_place.copies() == [version]
    name = f"{version}/item_vectors.npy"
    before = moto.downloads(name)
    assert before == 1  # it was read again after the upload
    s3_place.store().load()
    assert moto.downloads(name) == before


def test_a_damaged_copy_is_replaced(memory_place):
    version = publish(memory_place.store())
    for damage in (b"", b"damaged"):
        vectors = copy_of(memory_place, version) / "item_vectors.npy"
        vectors.write_bytes(damage)
        assert memory_place.store().load().version == version
        assert vectors.stat().st_size > 1000
    (copy_of(memory_place, version) / "manifest.json").unlink()
    assert memory_place.store().load().version == version


def test_a_copy_is_replaced_once_and_what_is_damaged_in_the_store_is_refused(memory_place):
    version = publish(memory_place.store())
    (copy_of(memory_place, version) / "item_vectors.npy").write_bytes(b"")
    memory_place.write(f"bundles/{version}/items.arrow", b"damaged")
    with pytest.raises(BundleError, match=rf"^memory://.*/{version}/items\.arrow: has 7 bytes"):
        memory_place.store().load()
    assert memory_place.copies() == []


def test_a_copy_outlives_the_store(memory_place):
    version = publish(memory_place.store())
    for name in memory_place.objects():
        memory_place.remove(name)
    assert memory_place.store().load(version).version == version
    with pytest.raises(StoreError, match="nothing is published"):
        memory_place.store().load()


def test_copies_go_when_new_ones_come_but_not_those_in_use(memory_place, tmp_path):
    publisher = memory_place.store(tmp_path / "publisher")
    versions = [publish(publisher, seed) for seed in range(5)]
    reader = memory_place.store()
    first = reader.load(versions[0])
    for version in versions[1:4]:
        reader.load(version)
    # In use, the one before, and the last one.
    assert memory_place.copies() == sorted([versions[0], versions[2], versions[3]])
    before = first.item_vectors.copy()
    reader.load(versions[4])
    assert memory_place.copies() == sorted([versions[0], versions[3], versions[4]])
    assert (first.item_vectors == before).all()
    del first
    reader.load(versions[1])
    assert memory_place.copies() == sorted([versions[4], versions[1]])


def test_what_somebody_has_open_in_a_directory_is_not_collected(tmp_path):
    store = BundleStore(tmp_path / "store")
    versions = sorted(publish(store, seed) for seed in range(3))
    store.rollback(versions[2])
    held = store.load(versions[0])
    assert retention.collect(store, keep=1) == [versions[1]]
    assert held.version in store.versions()
    del held
    assert retention.collect(store, keep=1) == [versions[0]]


def test_two_stores_do_not_share_copies(memory_place, s3_place):
    publish(memory_place.store())
    version = publish(BundleStore(s3_place.url, memory_place.cache))
    assert len(list(memory_place.cache.iterdir())) == 2
    assert BundleStore(s3_place.url, memory_place.cache).load().version == version


def test_a_cache_that_cannot_be_written(memory_place, tmp_path):
    publish(memory_place.store(tmp_path / "publisher"))
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        memory_place.store(tmp_path / "file").load()


def test_where_copies_lie_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == tmp_path / ".cache" / "drepmrec"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_cache() == Path("/elsewhere/drepmrec")
