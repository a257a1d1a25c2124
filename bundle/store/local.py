"""Storage in a local directory. An atomic rename makes bundles complete, the kernel locks them.

```
ROOT/bundles/<version>/     a bundle; processes that have it open hold a shared lock on it
ROOT/bundles/.staging-*     a bundle being written, under an exclusive lock; without one, a leftover
ROOT/.*.lock                locks on actions: publish, refresh, download
```
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from bundle.errors import StoreError
from bundle.format.checksums import verify_files
from bundle.format.manifest import MANIFEST, Manifest
from bundle.store.backend import VERSION, Hold

STAGING = ".staging-"


class LocalStorage:
    """A `Storage` in a local directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bundles = root / "bundles"

    @property
    def work_folder(self) -> Path:
        """See `Storage`."""
        return self.root / "run"

    def read(self, name: str) -> bytes | None:
        """See `Storage`."""
        with _reporting(self.root / name):
            try:
                return (self.root / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """See `Storage`."""
        with self._replacing(name) as temporary:
            temporary.write_bytes(content)

    def remove(self, name: str) -> None:
        """See `Storage`."""
        with _reporting(self.root / name):
            (self.root / name).unlink(missing_ok=True)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `Storage`."""
        with _reporting(self.root / name), (self.root / name).open("rb") as file:
            yield file

    def put_file(self, path: Path, name: str) -> None:
        """See `Storage`."""
        with self._replacing(name) as temporary:
            shutil.copyfile(path, temporary)

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        paths = (self.root / folder).glob("[!.]*")
        return sorted(f"{folder}/{path.name}" for path in paths)

    def has(self, version: str) -> bool:
        """See `Storage`."""
        with _reporting(self._bundles):
            return VERSION.fullmatch(version) is not None and self._path(version).is_dir()

    def versions(self) -> list[str]:
        """See `Storage`."""
        with _reporting(self._bundles):
            try:
                return sorted(p.name for p in self._bundles.iterdir() if self.has(p.name))
            except FileNotFoundError:
                return []

    def manifest(self, version: str) -> Manifest:
        """See `Storage`."""
        if not self.has(version):
            raise self._missing(version)
        manifest = Manifest.read(self._path(version))
        manifest.check_version(version, str(self._path(version) / MANIFEST))
        return manifest

    def hold(self, version: str) -> Hold:
        """See `Storage`."""
        with _reporting(self._path(version)):
            descriptor = _lock(self._path(version), fcntl.LOCK_SH) if self.has(version) else None
        if descriptor is None:
            raise self._missing(version)
        return Hold(self._path(version), descriptor)

    def copy_to(self, version: str, directory: Path) -> Manifest:
        """See `Storage`."""
        held = self.hold(version)
        try:
            manifest = self.manifest(version)
            verify_files(held.path, manifest)
            with _reporting(directory):
                shutil.copytree(held.path, directory, dirs_exist_ok=True)
        finally:
            held.release()
        return manifest

    def forget(self, version: str) -> bool:
        """See `Storage`: there are no copies, the bundles themselves are here."""
        del version
        return False

    def check(self, version: str) -> None:
        """See `Storage`: nothing to do, the reader checks the bundle itself."""

    @contextmanager
    def locked(self, what: str, wait: bool = False) -> Iterator[Callable[[], None]]:
        """See `Storage`; with `wait`, wait for the lock instead of raising."""
        lock = FileLock(self.root / f".{what}.lock")
        with _reporting(self.root):
            self._bundles.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(blocking=wait)
            except Timeout:
                raise StoreError(f"{self.root}: another process is {what}ing") from None
        try:
            yield lambda: None
        finally:
            lock.release()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """See `Storage`; OSErrors in the `with` block become StoreErrors."""
        with _reporting(self._bundles):
            self._bundles.mkdir(parents=True, exist_ok=True)
            descriptor = None
            while descriptor is None:  # `remove_leftovers` may delete it before it is locked
                path = Path(tempfile.mkdtemp(prefix=STAGING, dir=self._bundles))
                descriptor = _lock(path, fcntl.LOCK_EX)
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)

    def put(self, staging: Path, version: str) -> None:
        """See `Storage`; `staging` must come from this storage's `staging`."""
        with _reporting(self._path(version)):
            for path in (*staging.iterdir(), staging):
                sync(path)
            staging.chmod(0o755)
            if not self.has(version):  # the version is a digest: else the content is the same
                staging.rename(self._path(version))
            sync(self._bundles)

    def delete(self, version: str) -> bool:
        """See `Storage`."""
        path = self._path(version)
        with _reporting(path):
            descriptor = _lock(path, fcntl.LOCK_EX)
            if descriptor is None:
                return False
            try:
                shutil.rmtree(path.rename(self._bundles / f"{STAGING}{version}"))
            finally:
                os.close(descriptor)
        return True

    def remove_leftovers(self) -> None:
        """See `Storage`."""
        with _reporting(self._bundles):
            for path in self._bundles.glob(f"{STAGING}*"):
                descriptor = _lock(path, fcntl.LOCK_EX)
                if descriptor is not None:
                    shutil.rmtree(path)
                    os.close(descriptor)

    def used_at(self, version: str) -> float:
        """Time at which a bundle's directory was created or last touched, in s since 1970."""
        return self._path(version).stat().st_mtime

    @contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        """A temporary file; after the `with` block it atomically replaces `name`."""
        path = self.root / name
        with _reporting(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.new")
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)

    def _path(self, version: str) -> Path:
        return self._bundles / version

    def _missing(self, version: str) -> StoreError:
        return StoreError(f"{self.root}: has no bundle {version!r}")


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn OSErrors into StoreErrors that name the file."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise StoreError(f"{where}: {error.strerror or error}") from error


def _lock(path: Path, how: int) -> int | None:
    """Lock a directory until the descriptor is closed or the process ends.

    Args:
        path: the directory.
        how: LOCK_SH or LOCK_EX of fcntl.

    Returns:
        The descriptor; None if another process has locked the directory, or it does not exist.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # a network file system without such locks
        return descriptor
    os.close(descriptor)
    return None


def sync(path: Path) -> None:
    """Flush a file or directory to the disk, so that it survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
