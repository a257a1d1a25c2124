"""Storage in an object store, through fsspec.

```
URL/bundles/<version>/…     a bundle; complete as soon as its `manifest.json` exists
URL/locks/                  see `bundle.store.lease`
```
Whether a bundle exists is decided by reading its manifest by name. Listings may lag behind; they
only say which other bundles there are.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import fsspec

from bundle.errors import BundleError, DRepMRecError, StoreError
from bundle.format.manifest import MANIFEST, FileEntry, Manifest, describe, describe_stream
from bundle.store.backend import VERSION, Hold
from bundle.store.download_cache import DownloadCache
from bundle.store.lease import Lease
from bundle.store.url import EXTRAS

TRANSFERS = 8
"""Number of objects transferred at the same time: hides the latency of single requests."""
PATIENCE = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 5,
            "read_timeout": 15,
            "retries": {"mode": "standard", "total_max_attempts": 2},
        }
    }
}
"""Client options by scheme. With the defaults of botocore, a hanging store is noticed after 25
minutes only."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers of the local disk, in which the cache lies; the object store raises others."""


def open_file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path of the URL in it.

    Raises:
        StoreError: the package for the scheme is not installed.
    """
    scheme = url.partition("://")[0]
    configured = fsspec.config.conf.get(scheme, {})
    options = {k: v for k, v in PATIENCE.get(scheme, {}).items() if k not in configured}
    try:
        fs, path = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
    except ImportError as error:
        extra = f"drepmrec[{EXTRAS[scheme]}]"
        raise StoreError(f"{url}: {scheme}:// needs pip install '{extra}' ({error})") from error
    return fs, path


class ObjectStorage:
    """A `Storage` in an object store.

    Args:
        root: URL, without credentials.
        cache: cache of local copies.
    """

    def __init__(self, root: str, cache: DownloadCache) -> None:
        self.root = root
        self._cache = cache

    @cached_property
    def _place(self) -> tuple[Any, str]:
        with self._reporting():
            return open_file_system(self.root)

    @property
    def _fs(self) -> Any:
        return self._place[0]

    @property
    def work_folder(self) -> Path:
        """See `Storage`."""
        return self._cache.work_folder

    def read(self, name: str) -> bytes | None:
        """See `Storage`."""
        with self._reporting(name):
            try:
                return bytes(self._fs.cat_file(self._path(name)))
            except FileNotFoundError:
                bucket = self._path("").partition("/")[0]
                if not self._fs.exists(bucket):
                    raise StoreError(f"{self.root}: there is no bucket {bucket!r}") from None
                return None

    def write(self, name: str, content: bytes) -> None:
        """See `Storage`."""
        with self._reporting(name):
            self._fs.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Create a small object. False if it exists already."""
        with self._reporting(name):
            try:
                self._fs.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
            except OSError:  # some file systems raise this instead of FileExistsError
                if self.read(name) is None:
                    raise
                return False
        return True

    def remove(self, name: str) -> None:
        """See `Storage`."""
        with self._reporting(name), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See `Storage`."""
        with self._reporting(name), self._fs.open(self._path(name), "rb") as file:
            yield file

    def put_file(self, path: Path, name: str) -> None:
        """See `Storage`."""
        with self._reporting(name):
            self._fs.put_file(str(path), self._path(name))

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        with self._reporting(folder):
            try:
                paths = self._fs.find(self._path(folder))
            except FileNotFoundError:
                return []
        return sorted(path.removeprefix(self._path("")) for path in paths)

    def has(self, version: str) -> bool:
        """See `Storage`."""
        if not VERSION.fullmatch(version):
            return False
        name = _name(version, MANIFEST)
        with self._reporting(name):
            try:
                self._fs.info(self._path(name))
            except FileNotFoundError:
                return False
        return True

    def versions(self) -> list[str]:
        """See `Storage`."""
        return sorted(v for v, files in self._listed().items() if MANIFEST in files)

    def manifest(self, version: str) -> Manifest:
        """See `Storage`."""
        name = _name(version, MANIFEST)
        raw = self.read(name) if VERSION.fullmatch(version) else None
        if raw is None:
            raise StoreError(f"{self.root}: has no bundle {version!r}")
        manifest = Manifest.parse(raw, self._shown(name))
        manifest.check_version(version, self._shown(name))
        return manifest

    def hold(self, version: str) -> Hold:
        """See `Storage`."""
        return self._cache.hold(version, partial(self.copy_to, version))

    def copy_to(self, version: str, directory: Path) -> Manifest:
        """See `Storage`."""

        def get(name: str) -> FileEntry:
            self._fs.get_file(self._path(_name(version, name)), str(directory / name))
            return describe(directory / name)

        manifest = self.manifest(version)
        self._compare(version, manifest, get)
        (directory / MANIFEST).write_bytes(manifest.to_bytes())
        return manifest

    def forget(self, version: str) -> bool:
        """See `Storage`."""
        return self._cache.forget(version)

    def check(self, version: str) -> None:
        """See `Storage`."""

        def read(name: str) -> FileEntry:
            with self._fs.open(self._path(_name(version, name)), "rb") as file:
                return describe_stream(file)

        self._compare(version, self.manifest(version), read)

    @contextmanager
    def locked(self, what: str) -> Iterator[Callable[[], None]]:
        """See `Storage`."""
        with Lease(self, what) as lease:
            yield lease.check

    def staging(self) -> AbstractContextManager[Path]:
        """See `Storage`."""
        return self._cache.staging()

    def put(self, staging: Path, version: str) -> None:
        """See `Storage`; the objects are read again and compared before the bundle counts."""

        def upload(path: Path) -> None:
            self.put_file(path, _name(version, path.name))

        _each(upload, (path for path in staging.iterdir() if path.name != MANIFEST))
        upload(staging / MANIFEST)
        try:
            self.check(version)
        except BundleError:
            self.delete(version)
            raise
        self._cache.put(staging, version)

    def delete(self, version: str) -> bool:
        """See `Storage`; which processes use a bundle is not known here."""
        self.remove(_name(version, MANIFEST))  # from here on there is no such bundle
        self._remove_files(version, self._listed().get(version, ()))
        return True

    def remove_leftovers(self) -> None:
        """See `Storage`; incomplete multipart uploads are left to rules of the object store."""
        for version, files in self._listed().items():
            if MANIFEST not in files and not self.has(version):
                self._remove_files(version, files)

    def _remove_files(self, version: str, files: Iterable[str]) -> None:
        _each(lambda file: self.remove(_name(version, file)), files)

    def _listed(self) -> dict[str, set[str]]:
        """Names of files by version, including incomplete bundles."""
        found: dict[str, set[str]] = {}
        for name in self.names("bundles"):
            _, version, file = name.split("/", 2)
            found.setdefault(version, set()).add(file)
        return found

    def _compare(self, version: str, manifest: Manifest, look: Callable[[str], FileEntry]) -> None:
        """Compare each file, described by `look`, with the manifest; raises BundleError."""

        def one(name: str) -> None:
            where = _name(version, name)
            with self._reporting(where):
                try:
                    found = look(name)
                except FileNotFoundError as error:
                    raise BundleError(f"{self._shown(where)}: is missing") from error
            manifest.files[name].compare(found, self._shown(where))

        _each(one, manifest.files)

    def _path(self, name: str) -> str:
        return f"{self._place[1].rstrip('/')}/{name}"

    def _shown(self, name: str) -> str:
        return f"{self.root}/{name}"

    @contextmanager
    def _reporting(self, name: str = "") -> Iterator[None]:
        """Turn any error of a file system into a StoreError that names the object."""
        try:
            yield
        except DRepMRecError:
            raise
        except Exception as error:  # each client library has its own error classes
            if isinstance(error, OSError) and error.errno in DISK:
                raise  # an error of the cache, which reports it
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            if isinstance(error, PermissionError):
                said = f"access is refused ({said})"
            raise StoreError(f"{self._shown(name)}: {said}") from error


def _name(version: str, file: str) -> str:
    return f"bundles/{version}/{file}"


def _each(work: Callable[[Any], None], of: Iterable[Any]) -> None:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(work, of))
