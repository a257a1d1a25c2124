"""Copies of an object store's bundles in a local directory, for all processes that use it.

Each bundle is downloaded once, whoever asks for it and however many: the others wait. A copy is
there as a whole or not at all, and is kept for later starts. When a new one comes, old ones go, but
for the one that was used last and those that are in use.
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
from bundle.local_storage import LocalStorage
from bundle.storage import Hold

KEPT = 1
"""Copies that are not in use and stay beside a new one."""


def default_cache() -> Path:
    """`~/.cache/drepmrec`, or where XDG_CACHE_HOME says.

    Raises:
        InputError: there is no home directory.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drepmrec"
    except RuntimeError as error:
        raise InputError(f"--cache: must be given ({error})") from error


class DownloadCache:
    """The copies of one store.

    Args:
        directory: for the copies of all stores; `default_cache()` if None.
        url: of the store.
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
        """The copy of a bundle.

        Args:
            version: of the bundle.
            download: fills an empty directory with the bundle's files, verified.
        """
        copy = self._find(version)
        if copy is not None:
            return copy
        with self._copies.locked("download", wait=True):
            copy = self._find(version)  # while we waited
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
        """Keep what was made in `staging` as a copy."""
        with self._copies.locked("download", wait=True):
            self._clean()
            self._copies.put(staging, version)

    def forget(self, version: str) -> bool:
        """Delete a copy; False if it is in use."""
        with self._copies.locked("download", wait=True):
            return self._copies.delete(version)

    def _find(self, version: str) -> Hold | None:
        try:
            copy = self._copies.hold(version)
        except StoreError:
            return None
        with suppress(OSError):  # a read-only cache will do
            os.utime(copy.descriptor)
        return replace(copy, fresh=False)

    def _clean(self) -> None:
        self._copies.remove_leftovers()
        used = {v: self._copies.used_at(v) for v in self._copies.versions()}
        for version in sorted(used, key=used.__getitem__, reverse=True)[KEPT:]:
            self._copies.delete(version)
