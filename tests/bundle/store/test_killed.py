"""SIGKILL during a publication to an object store and during a download from it."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bundle.format.checksums import verify_files
from bundle.format.manifest import Manifest
from tests.support.data.bundles import publish
from tests.support.running.object_stores import (
    RunningMoto,
    StoreBackend,
    expire_lease,
    skip_lease_settling,
)
from tests.support.running.processes import count_files, environment_with_tests, kill_when

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _skip_lease_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_lease_settling(monkeypatch)


PUBLISHER = """
import sys
from pathlib import Path
from bundle.store import lease
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
lease.SETTLE = 0.02
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
print("ready", flush=True)
for seed in range(1000):
    publish(store, seed)
    print("published", flush=True)
"""


def test_kill_9_during_publish_leaves_a_whole_live_bundle(
    moto: RunningMoto, s3_backend: StoreBackend, tmp_path: Path
) -> None:
    """Killed when a bundle has so many of its files, each in the next of several processes."""
    store = s3_backend.store()
    publish(store)
    cut_short = 0
    for n_files in (1, 2, 4, 7, 10, 13, 15, 16):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, s3_backend.url, str(tmp_path / "publisher")],
            stdout=subprocess.PIPE,
            env=environment_with_tests(**moto.environment),
        )
        assert process.stdout is not None
        known = bundle_folders(s3_backend)

        def has_files(known: Counter[str] = known, n_files: int = n_files) -> bool:
            sizes = (bundle_folders(s3_backend) - known).values()
            return any(size >= n_files for size in sizes)

        with process.stdout as lines:
            assert lines.readline() == b"ready\n"
            kill_when(process, has_files)
        cut_short += len(set(bundle_folders(s3_backend)) - set(store.versions()))
        fresh = s3_backend.store(tmp_path / "reader")
        assert fresh.load().version == fresh.current()
        for version in fresh.versions():
            fresh.storage.check(version)
        expire_lease(s3_backend)
    assert cut_short, "no kill hit the moment that this test is about"
    version = publish(store, 2000)
    assert store.current() == version
    assert set(bundle_folders(s3_backend)) == set(store.versions())
    assert "locks/publish" not in s3_backend.objects()


def bundle_folders(backend: StoreBackend) -> Counter[str]:
    """Number of objects of each bundle, whole or not."""
    return Counter(name.split("/")[1] for name in backend.objects() if "/" in name)


def test_kill_9_during_a_download_leaves_no_partial_copy(
    moto: RunningMoto, s3_backend: StoreBackend, tmp_path: Path
) -> None:
    version = publish(s3_backend.store(tmp_path / "publisher"))
    manifest = s3_backend.store().manifest(version)
    code = """
import sys
from pathlib import Path
from bundle.store.store import BundleStore
store = BundleStore(sys.argv[1], Path(sys.argv[2]))
store.load()  # imports everything that it needs
print("ready", flush=True)
while True:
    store.storage.forget(store.current())
    store.load()
"""
    half = 0
    for n_files in (1, 2, 3, 5, 7, 8, 10, 12):
        process = subprocess.Popen(
            [sys.executable, "-c", code, s3_backend.url, str(s3_backend.cache)],
            stdout=subprocess.PIPE,
            env=os.environ | moto.environment,
        )
        assert process.stdout is not None

        def has_files(n_files: int = n_files) -> bool:
            return count_files(s3_backend.cache, "*/bundles/.staging-*/*") >= n_files

        with process.stdout as lines:
            assert lines.readline() == b"ready\n"
            kill_when(process, has_files)
        half += bool(list(s3_backend.cache.glob("*/bundles/.staging-*")))
        for copy in s3_backend.copies():
            [path] = s3_backend.cache.glob(f"*/bundles/{copy}")
            verify_files(path, manifest)
            assert Manifest.read(path) == manifest
    assert half, "no kill hit the moment that this test is about"
    assert s3_backend.store().load().version == version
    assert not list(s3_backend.cache.glob("*/bundles/.staging-*"))
