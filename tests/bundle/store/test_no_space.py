"""A full disk: an error that names it, and a store or cache that is as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running.processes import environment_with_tests

IN_A_SMALL_FILE_SYSTEM = """
set -e
mount -t tmpfs -o size=400k tmpfs "$1"
shift
exec "$@"
"""

COMMON = """
import os, re, sys
from pathlib import Path
from bundle.store import lease
from bundle.errors import StoreError
from bundle.store.store import BundleStore
from tests.support.data.bundles import publish
lease.SETTLE = 0.0
disk = Path(sys.argv[1])
ballast = disk / "ballast"

def leave(free):
    ballast.write_bytes(b"")
    room = os.statvfs(disk)
    ballast.write_bytes(bytes(max(room.f_bavail * room.f_frsize - free, 0)))

def refused(work):
    try:
        work()
    except StoreError as error:
        assert re.search("No space left|cannot write|requested and", str(error)), error
        assert str(disk) in str(error), error
        return True
    return False
"""

LOCAL = (
    COMMON
    + """
store = BundleStore(disk / "store")
live = publish(store)
failed = 0
for free in range(0, 120_000, 4096):
    leave(free)
    if refused(lambda: publish(store, free + 1)):
        failed += 1
        assert store.live_version() == live
    ballast.unlink()
    assert store.load().version == store.current()
    assert not list((disk / "store/bundles").glob(".staging-*"))
    store.rollback(live)
    for version in store.versions():
        store.verify(version)
        if version != live:
            store.storage.delete(version)
assert publish(store, 1) == store.current()
print(failed)
"""
)

CACHE = (
    COMMON
    + """
publisher = BundleStore("memory://shop", Path(sys.argv[2]))
first, second = publish(publisher, 0), publish(publisher, 1)
reader = BundleStore("memory://shop", disk)
running = reader.load(first)
failed = 0
for free in range(0, 60_000, 4096):
    leave(free)
    if not refused(lambda: reader.load(second)):
        reader.storage.forget(second)
        continue
    failed += 1
    assert not list(disk.glob("*/bundles/.staging-*"))
    assert [p.name for p in disk.glob("*/bundles/[!.]*")] == [first]
    assert reader.load(first).version == first
ballast.unlink()
assert reader.load(second).version == second
print(failed)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("code", [LOCAL, CACHE], ids=["a store", "copies"])
def test_a_full_disk(code: str, tmp_path: Path) -> None:
    disk, other = tmp_path / "disk", tmp_path / "other"
    disk.mkdir()
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", IN_A_SMALL_FILE_SYSTEM]
    if subprocess.run([*mount, "sh", disk, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow to mount a file system in a namespace")
    done = subprocess.run(
        [*mount, "sh", str(disk), sys.executable, "-c", code, str(disk), str(other)],
        env=environment_with_tests(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3
    assert not list(disk.iterdir())
