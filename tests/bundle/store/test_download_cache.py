"""Local copies of an object store's bundles: downloaded once, whole, kept while in use."""

import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.errors import BundleError, StoreError
from bundle.store import retention
from bundle.store.download_cache import default_cache
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
from tests.support.running.object_stores import RunningMoto, StoreBackend, skip_lease_settling
from tests.support.waiting import DEADLINE

LOADER = """
import sys, gc
from pathlib import Path
from bundle.store.store import BundleStore
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
print(store.load().version, flush=True)
"""


@pytest.fixture(autouse=True)
def _skip_lease_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_lease_settling(monkeypatch)


def copy_of(backend: StoreBackend, version: str) -> Path:
    [path] = backend.cache.glob(f"*/bundles/{version}")
    return path


@pytest.mark.slow
def test_many_processes_download_a_bundle_once_and_later_ones_not_at_all(
    moto: RunningMoto, s3_backend: StoreBackend, tmp_path: Path
) -> None:
    version = publish(s3_backend.store(tmp_path / "publisher"))
    asked = [f"{version}/{name}" for name in s3_backend.store().manifest(version).files]
    before = {name: moto.downloads(name) for name in asked}

    def load(processes: int) -> None:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", LOADER, s3_backend.url, str(s3_backend.cache)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | moto.environment,
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
            assert process.communicate(timeout=DEADLINE)[0] == f"{version}\n"
            assert process.returncode == 0

    load(4)
    once = {name: moto.downloads(name) for name in asked}
    assert all(once[name] > before[name] for name in asked)
    load(1)
    assert {name: moto.downloads(name) for name in asked} == once
    again = {n: once[n] - before[n] for n in asked}
    assert set(again.values()) == {1}


@pytest.mark.slow
def test_a_bundle_published_from_this_cache_is_not_downloaded(
    moto: RunningMoto, s3_backend: StoreBackend
) -> None:
    version = publish(s3_backend.store())
    assert s3_backend.copies() == [version]
    name = f"{version}/item_vectors.npy"
    before = moto.downloads(name)
    assert before == 1  # it was read again after the upload
    s3_backend.store().load()
    assert moto.downloads(name) == before


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Garbage is not collected: what is freed is in no cycle of references."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_damaged_copy_is_replaced(memory_backend: StoreBackend) -> None:
    version = publish(memory_backend.store())
    for damage in (b"", b"damaged"):
        vectors = copy_of(memory_backend, version) / "item_vectors.npy"
        vectors.write_bytes(damage)
        assert memory_backend.store().load().version == version
        assert vectors.stat().st_size > 1000
    (copy_of(memory_backend, version) / "manifest.json").unlink()
    assert memory_backend.store().load().version == version


@pytest.mark.usefixtures("no_garbage_collection")
def test_a_bundle_in_place_of_a_damaged_copy_is_freed_at_once(
    memory_backend: StoreBackend,
) -> None:
    version = publish(memory_backend.store())
    (copy_of(memory_backend, version) / "item_vectors.npy").write_bytes(b"damaged")
    freed = weakref.ref(memory_backend.store().load())
    assert freed() is None


def test_a_damaged_copy_of_a_damaged_object_is_refused(memory_backend: StoreBackend) -> None:
    version = publish(memory_backend.store())
    (copy_of(memory_backend, version) / "item_vectors.npy").write_bytes(b"")
    memory_backend.write(f"bundles/{version}/items.arrow", b"damaged")
    with pytest.raises(BundleError, match=rf"^memory://.*/{version}/items\.arrow: has 7 bytes"):
        memory_backend.store().load()
    assert memory_backend.copies() == []


def test_a_copy_outlives_the_store(memory_backend: StoreBackend) -> None:
    version = publish(memory_backend.store())
    for name in memory_backend.objects():
        memory_backend.remove(name)
    assert memory_backend.store().load(version).version == version
    with pytest.raises(StoreError, match="nothing is published"):
        memory_backend.store().load()


@pytest.mark.slow
def test_new_copies_replace_old_ones_that_are_not_in_use(
    memory_backend: StoreBackend, tmp_path: Path
) -> None:
    publisher = memory_backend.store(tmp_path / "publisher")
    versions = [publish(publisher, seed) for seed in range(5)]
    reader = memory_backend.store()
    first = reader.load(versions[0])
    for version in versions[1:4]:
        reader.load(version)
    # In use, the one before, and the last one.
    assert memory_backend.copies() == sorted([versions[0], versions[2], versions[3]])
    before = first.item_vectors.copy()
    reader.load(versions[4])
    assert memory_backend.copies() == sorted([versions[0], versions[3], versions[4]])
    assert (first.item_vectors == before).all()
    del first
    reader.load(versions[1])
    assert memory_backend.copies() == sorted([versions[4], versions[1]])


def test_an_open_bundle_in_a_directory_is_not_collected(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "store")
    versions = sorted(publish(store, seed) for seed in range(3))
    store.rollback(versions[2])
    held = store.load(versions[0])
    assert retention.collect(store, keep=1) == [versions[1]]
    assert held.version in store.versions()
    del held
    assert retention.collect(store, keep=1) == [versions[0]]


@pytest.mark.slow
def test_two_stores_do_not_share_copies(
    memory_backend: StoreBackend, s3_backend: StoreBackend
) -> None:
    publish(memory_backend.store())
    version = publish(BundleStore(s3_backend.url, memory_backend.cache))
    assert len(list(memory_backend.cache.iterdir())) == 2
    assert BundleStore(s3_backend.url, memory_backend.cache).load().version == version


def test_a_cache_that_cannot_be_written(memory_backend: StoreBackend, tmp_path: Path) -> None:
    publish(memory_backend.store(tmp_path / "publisher"))
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        memory_backend.store(tmp_path / "file").load()


def test_the_default_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == tmp_path / ".cache" / "drepmrec"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_cache() == Path("/elsewhere/drepmrec")
