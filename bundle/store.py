"""The store: bundles under their versions and a pointer to the live one.

```
STORE/
  CURRENT                 the live version, written last and atomically
  bundles/<version>/…     immutable; whole as soon as the directory has its name
  bundles/.staging-*      what a publisher is writing, or left behind when it was killed
```
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bundle.contents import BundleContents, write_bundle
from bundle.errors import BundleError, StoreError
from bundle.loading import Bundle
from bundle.manifest import MANIFEST, Manifest

POINTER = "CURRENT"
STAGING = ".staging-"


class BundleStore:
    """Bundles in a local directory."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._bundles = self.root / "bundles"

    def versions(self) -> list[str]:
        """All whole bundles, oldest first."""
        if not self._bundles.is_dir():
            return []
        return sorted(p.name for p in self._bundles.iterdir() if not p.name.startswith("."))

    def current(self) -> str:
        """The live version.

        Raises:
            StoreError: nothing is published, or the pointer names a bundle that is not there.
        """
        version = self.live_version()
        if version is None:
            raise StoreError(f"{self.root}: nothing is published in this store")
        self.path(version)
        return version

    def live_version(self) -> str | None:
        """What the pointer says, None if nothing was ever published."""
        try:
            return (self.root / POINTER).read_text().strip()
        except FileNotFoundError:
            return None

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version; raises as `load`."""
        return Manifest.read(self.path(version))

    def path(self, version: str) -> Path:
        """The directory of a bundle.

        Raises:
            StoreError: there is no such version.
        """
        if version not in self.versions():
            raise StoreError(f"{self.root}: has no bundle {version!r}")
        return self._bundles / version

    def load(self, version: str | None = None, threads: int = 1) -> Bundle:
        """Open a bundle, the live one by default.

        Raises:
            StoreError: there is no such version.
            BundleError: the bundle is damaged, or is not the one that its directory's name says.
        """
        version = version or self.current()
        found = self.manifest(version).version()
        if found != version:
            manifest = self.path(version) / MANIFEST
            raise BundleError(f"{manifest}: was altered, or is that of another bundle, {found}")
        return Bundle.load(self.path(version), threads)

    def verify(self, version: str) -> Manifest:
        """Open a bundle as the service would and return its manifest; raises as `load`."""
        return self.load(version).manifest

    def publish(self, contents: BundleContents) -> str:
        """Write a bundle, verify what was written, and make it the live one.

        A crash at any moment leaves the pointer where it was; the next call cleans up.

        Returns:
            The new version.

        Raises:
            StoreError: somebody else is publishing.
            BundleError: what was written does not load.
        """
        with self._locked():
            self._remove_leftovers()
            staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=self._bundles))
            try:
                version = write_bundle(staging, contents).version()
                Bundle.load(staging)
                for path in staging.iterdir():
                    _sync(path)
                staging.chmod(0o755)
                if not (self._bundles / version).exists():  # the same content, again
                    staging.rename(self._bundles / version)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            _sync(self._bundles)
            self._point_to(version)
        return version

    def rollback(self, version: str | None = None) -> str:
        """Make an earlier bundle live again: the given one, or the live one's parent.

        Raises:
            StoreError: there is no such version, or the live one has no parent.
            BundleError: that bundle is damaged.
        """
        with self._locked():
            if version is None:
                current = self.current()
                version = self.manifest(current).parent_version
                if version is None:
                    raise StoreError(f"{self.root}: {current} has no parent to roll back to")
            self.verify(version)
            self._point_to(version)
        return version

    def _point_to(self, version: str) -> None:
        temporary = self.root / f".{POINTER}.new"
        temporary.write_text(version + "\n")
        _sync(temporary)
        temporary.replace(self.root / POINTER)
        _sync(self.root)

    def _remove_leftovers(self) -> None:
        for path in self._bundles.glob(f"{STAGING}*"):
            shutil.rmtree(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._bundles.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / ".lock")
        try:
            with lock.acquire(blocking=False):
                yield
        except Timeout:
            raise StoreError(f"{self.root}: somebody else is publishing into it") from None


def _sync(path: Path) -> None:
    """Make a file's or directory's content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
