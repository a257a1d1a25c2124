"""Download cache: local copies of an object store's bundles, shared by all processes.

A bundle is downloaded once; other processes that need it wait. A copy is complete or absent, and is
kept for later starts. Adding a copy deletes the older ones, except for those in use and the one
that was used last.
"""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from bundle.errors import InputError, StoreError
from bundle.store.backend import Hold
from bundle.store.local import LocalStorage

KEPT = 1
"""Number of unused copies kept beside a new one: a rollback then needs no download."""


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/drepmrec`, by default `~/.cache/drepmrec`. Not created here.

    Raises:
        InputError: there is no home directory, and XDG_CACHE_HOME is not set; or it is relative.
    """
    try:
        found = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drepmrec"
    except RuntimeError as error:
        raise InputError(f"no cache directory: set XDG_CACHE_HOME ({error})") from error
    if not found.is_absolute():  # it would depend on where a process is started
        raise InputError(f"no cache directory: {found} is relative; set XDG_CACHE_HOME")
    return found


class DownloadCache:
    """Copies of one store.

    Args:
        directory: cache directory for all stores; `default_cache()` if None.
        url: URL of the store.
    """

    def __init__(self, directory: Path | None, url: str) -> None:
        self._directory = directory
        self._url = url

    @cached_property
    def _copies(self) -> LocalStorage:
        readable = re.sub(r"\W+", "-", self._url)[:60]
        digest = hashlib.sha256(self._url.encode()).hexdigest()[:12]
        return LocalStorage((self._directory or default_cache()) / f"{readable}-{digest}")

    @property
    def work_folder(self) -> Path:
        """See `Storage`."""
        return self._copies.work_folder

    def hold(self, version: str, download: Callable[[Path], object]) -> Hold:
        """The copy of a bundle, downloaded if there is none.

        Args:
            version: version of the bundle.
            download: writes the bundle's files into an empty directory and verifies them.
        """
        copy = self._find(version)
        if copy is not None:
            return copy
        with self._copies.locked("download", wait=True):
            copy = self._find(version)  # another process downloaded it while this one waited
            if copy is not None:
                return copy
            self._clean()
            with self._copies.staging() as staging:
                download(staging)
                self._copies.put(staging, version)
            return self._copies.hold(version)

    def staging(self) -> AbstractContextManager[Path]:
        """See `Storage`."""
        return self._copies.staging()

    def put(self, staging: Path, version: str) -> None:
        """Add the bundle in `staging` to the copies."""
        with self._copies.locked("download", wait=True):
            self._clean()
            self._copies.put(staging, version)

    def forget(self, version: str) -> bool:
        """Delete a copy. False if it is in use."""
        with self._copies.locked("download", wait=True):
            return self._copies.delete(version)

    def _find(self, version: str) -> Hold | None:
        try:
            copy = self._copies.hold(version)
        except StoreError:
            return None
        with suppress(OSError):  # a read-only cache is fine
            os.utime(copy.descriptor)
        return replace(copy, fresh=False)

    def _clean(self) -> None:
        self._copies.remove_leftovers()
        used = {v: self._copies.used_at(v) for v in self._copies.versions()}
        for version in sorted(used, key=used.__getitem__, reverse=True)[KEPT:]:
            self._copies.delete(version)
