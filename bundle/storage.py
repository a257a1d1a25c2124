"""What `bundle.store` needs of the place where bundles lie."""

import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from bundle.manifest import Manifest

VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


@dataclass(frozen=True)
class Hold:
    """A bundle in a local directory, which nobody on this machine deletes until it is released.

    Attributes:
        path: the directory.
        descriptor: of the directory, which is locked.
        fresh: whether there is nothing better to be had: it is no copy from before.
    """

    path: Path
    descriptor: int
    fresh: bool = True

    def release(self) -> None:
        """Let it go, once."""
        os.close(self.descriptor)


class Storage(Protocol):
    """A local directory, or a prefix in an object store.

    Every method raises StoreError, which names the file or object, when the place cannot be used.

    """

    @property
    def root(self) -> Path | str:
        """A path, or the URL of an object store."""
        ...

    @property
    def work_folder(self) -> Path:
        """See `BundleStore`."""
        ...

    def read(self, name: str) -> bytes | None:
        """A small file; None if there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a small file, at once for all who read it."""
        ...

    def remove(self, name: str) -> None:
        """Remove a small file, if it is there."""
        ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """A large file to read from, here and there; what cannot be read is a StoreError."""
        ...

    def put_file(self, path: Path, name: str) -> None:
        """Copy a local file, to be there at once for all who read it."""
        ...

    def names(self, folder: str) -> list[str]:
        """The files in a folder, sorted; a listing may lag behind."""
        ...

    def has(self, version: str) -> bool:
        """Whether there is a whole bundle of this version."""
        ...

    def versions(self) -> list[str]:
        """The whole bundles, oldest first."""
        ...

    def manifest(self, version: str) -> Manifest:
        """The manifest of a bundle.

        Raises:
            StoreError: there is no such version.
            BundleError: the manifest is damaged, or that of another bundle.
        """
        ...

    def hold(self, version: str) -> Hold:
        """A bundle as local files; raises as `manifest`."""
        ...

    def copy_to(self, version: str, directory: Path) -> Manifest:
        """Copy a bundle's files into an empty directory.

        Raises:
            StoreError: there is no such version.
            BundleError: a file is missing or altered.
        """
        ...

    def forget(self, version: str) -> bool:
        """Drop a local copy, so that `hold` makes a new one. False if there is no copy to drop."""
        ...

    def check(self, version: str) -> None:
        """Compare what lies there with the manifest, where `bundle.loading` cannot.

        Raises:
            BundleError: something is missing or altered.
        """
        ...

    def locked(self, what: str) -> AbstractContextManager[Callable[[], None]]:
        """See `BundleStore.alone`."""
        ...

    def staging(self) -> AbstractContextManager[Path]:
        """An empty local directory to write a bundle into, gone afterwards unless `put`."""
        ...

    def put(self, staging: Path, version: str) -> None:
        """Take in a bundle; killed at any moment it is there as a whole, or not."""
        ...

    def delete(self, version: str) -> bool:
        """Delete a bundle; False if it is in use on this machine."""
        ...

    def remove_leftovers(self) -> None:
        """Remove what killed publishers left behind."""
        ...
