"""The storage protocol: operations that a store needs of a directory or an object store."""

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from bundle.format.manifest import Manifest

VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
"""Format of a version: creation time in UTC, first 8 hex digits of the manifest's sha256."""


@dataclass(frozen=True)
class Hold:
    """A bundle in a local directory, protected from deletion on this machine until `release`.

    Attributes:
        path: the directory.
        descriptor: file descriptor of the directory, which holds a shared lock.
        fresh: False for a copy that was already in the local cache. If it turns out to be damaged,
            the store downloads the bundle again.
    """

    path: Path
    descriptor: int
    fresh: bool = True

    def release(self) -> None:
        """Allow deletion again. Call it once."""
        os.close(self.descriptor)


class Storage(Protocol):
    """A local directory, or a prefix in an object store.

    If it cannot be used, every method raises a StoreError that names the file or object.
    """

    @property
    def root(self) -> Path | str:
        """The path, or the URL of the object store."""
        ...

    @property
    def work_folder(self) -> Path:
        """See `BundleStore`."""
        ...

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None if it does not exist."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a small file, atomically for readers."""
        ...

    def remove(self, name: str) -> None:
        """Delete a small file, if it exists."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A large file, opened for reading at any position; errors of reading are StoreErrors."""
        ...

    def put_file(self, path: Path, name: str) -> None:
        """Copy a local file into the store, atomically for readers."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted. Recent changes may be missing."""
        ...

    def has(self, version: str) -> bool:
        """True if the bundle exists and is complete."""
        ...

    def versions(self) -> list[str]:
        """Versions of all complete bundles, oldest first. Recent changes may be missing."""
        ...

    def manifest(self, version: str) -> Manifest:
        """The manifest of a bundle.

        Raises:
            StoreError: there is no such version.
            BundleError: the manifest is damaged, or belongs to another bundle.
        """
        ...

    def hold(self, version: str) -> Hold:
        """The bundle as local files; raises as `manifest`."""
        ...

    def copy_to(self, version: str, directory: Path) -> Manifest:
        """Copy the bundle's files into an empty directory.

        Raises:
            StoreError: there is no such version.
            BundleError: a file is missing or altered.
        """
        ...

    def forget(self, version: str) -> bool:
        """Delete the local copy, so that `hold` makes a new one. False if there is none."""
        ...

    def check(self, version: str) -> None:
        """Compare the objects with the manifest; `bundle.format.reader` sees the local copy only.

        Raises:
            BundleError: an object is missing or altered.
        """
        ...

    def locked(self, what: str) -> AbstractContextManager[Callable[[], None]]:
        """See `BundleStore.alone`."""
        ...

    def staging(self) -> AbstractContextManager[Path]:
        """An empty local directory for a new bundle; deleted afterwards unless `put` moved it."""
        ...

    def put(self, staging: Path, version: str) -> None:
        """Add a bundle from `staging`. If the process dies, the bundle is complete or absent."""
        ...

    def delete(self, version: str) -> bool:
        """Delete a bundle. False if it is in use on this machine."""
        ...

    def remove_leftovers(self) -> None:
        """Delete incomplete bundles of publishers that died."""
        ...
