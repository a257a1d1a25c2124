"""The store: bundles under their versions and a pointer to the live one.

```
STORE/
  CURRENT                 the live version, written last and at once
  bundles/<version>/…     immutable; there as a whole, or not
  pins/<version>          see `bundle.retention`
```
STORE is a local directory (`bundle.local_storage`) or the URL of an object store
(`bundle.object_storage`), whose bundles are opened from copies in a local cache.
"""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from bundle.contents import BundleContents, seal, write_bundle
from bundle.download_cache import DownloadCache
from bundle.errors import BundleError, StoreError
from bundle.loading import Bundle
from bundle.local_storage import LocalStorage
from bundle.manifest import MANIFEST, Manifest, Verdict, made_at
from bundle.object_storage import ObjectStorage
from bundle.storage import Storage
from bundle.store_url import parse_root

POINTER = "CURRENT"


class BundleStore:
    """Bundles in a local directory or an object store.

    Args:
        root: a directory, or a URL: `s3://bucket/prefix`, `gs://…`, `az://…`, `memory://…`.
        cache: directory for copies of an object store's bundles; `~/.cache/drepmrec` if None.

    Nothing is read or written before it is asked for. Every method raises StoreError, which names
    the file or object, when the store cannot be used.

    Raises:
        InputError: the root is a URL that cannot be a store's.
    """

    def __init__(self, root: Path | str, cache: Path | None = None) -> None:
        self.root = parse_root(root)
        self.storage: Storage
        if isinstance(self.root, Path):
            self.storage = LocalStorage(self.root)
        else:
            copies = DownloadCache(cache, self.root)
            self.storage = ObjectStorage(self.root, copies)

    @property
    def work_folder(self) -> Path:
        """A local directory for what long runs keep to go on from."""
        return self.storage.work_folder

    def versions(self) -> list[str]:
        """All whole bundles, oldest first."""
        found, live = self.storage.versions(), self.live_version()
        if live is not None and live not in found and self.storage.has(live):
            found = sorted([*found, live])  # a listing may lag behind
        return found

    def current(self) -> str:
        """The live version.

        Raises:
            StoreError: nothing is published, or the pointer names a bundle that is not there.
        """
        version = self.live_version()
        if version is None:
            raise StoreError(f"{self.root}: nothing is published in this store")
        if not self.storage.has(version):
            raise StoreError(f"{self.root}: {POINTER} names {version!r}, which is not there")
        return version

    def live_version(self) -> str | None:
        """What the pointer says, None if nothing was ever published."""
        raw = self.storage.read(POINTER)
        return None if raw is None else raw.decode(errors="replace").strip()

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version; raises as `load`."""
        return self.storage.manifest(version)

    def path(self, version: str) -> Path:
        """The directory of a bundle, or of a local copy of it.

        Raises:
            StoreError: there is no such version.
        """
        held = self.storage.hold(version)
        held.release()
        return held.path

    def load(self, version: str | None = None, threads: int = 1) -> Bundle:
        """Open a bundle, the live one by default. No `collect` on this machine deletes it before
        it is forgotten.

        Raises:
            StoreError: there is no such version.
            BundleError: the bundle is damaged, or is not the one that its directory's name says.
        """
        version = version or self.current()
        while True:
            held = self.storage.hold(version)
            try:
                Manifest.read(held.path).check_version(version, held.path / MANIFEST)
                bundle = Bundle.load(held.path, threads)
            except BaseException as error:
                held.release()
                damaged_copy = isinstance(error, BundleError) and not held.fresh
                if not (damaged_copy and self.storage.forget(version)):
                    raise
            else:
                weakref.finalize(bundle, held.release)
                return bundle

    def verify(self, version: str) -> Manifest:
        """Open a bundle as the service would and return its manifest; raises as `load`.

        Of an object store, the objects are read as well as the copy.
        """
        self.storage.check(version)
        return self.load(version).manifest

    def publish(
        self,
        contents: BundleContents,
        judge: Callable[[Bundle], Verdict] | None = None,
        prepare: Callable[[Bundle], None] | None = None,
    ) -> str:
        """Write a bundle, verify what was written, and make it the live one.

        A crash at any moment leaves the pointer where it was; the next call cleans up. Its version
        comes after those that are there, even of the same second.

        Args:
            contents: what is written.
            judge: says what the manifest shall keep of the gate's opinion; it raises if the
                candidate must not be published.
            prepare: gets the candidate under its final version, before anybody is served by it.

        Returns:
            The new version.

        Raises:
            StoreError: somebody else is publishing.
            BundleError: what was written does not load.
        """

        def write(staging: Path) -> Manifest:
            return write_bundle(staging, contents, map(made_at, self.versions()))

        return self._take_in(write, judge, prepare)

    def copy(self, source: "BundleStore", version: str | None = None) -> str:
        """Copy a bundle of another store, its live one by default, and make it live here.

        Returns:
            The version.

        Raises:
            StoreError: somebody else is publishing, or the source has no such bundle.
            BundleError: it is damaged.
        """
        version = version or source.current()
        if self.storage.has(version):
            try:
                return self.rollback(version)
            except BundleError:
                with self.alone("publish"):
                    self.storage.delete(version)
        return self._take_in(partial(source.storage.copy_to, version))

    def _take_in(
        self,
        write: Callable[[Path], Manifest],
        judge: Callable[[Bundle], Verdict] | None = None,
        prepare: Callable[[Bundle], None] | None = None,
    ) -> str:
        with self.alone("publish") as check_lock:
            self.storage.remove_leftovers()
            with self.storage.staging() as staging:
                manifest = write(staging)
                candidate = Bundle.load(staging)
                if judge is not None:
                    manifest = seal(staging, manifest, judge(candidate))
                version = manifest.version()
                if prepare is not None:
                    prepare(replace(candidate, version=version, manifest=manifest))
                self.storage.put(staging, version)
            check_lock()
            self._point_to(version)
        return version

    def rollback(self, version: str | None = None) -> str:
        """Make an earlier bundle live again: the given one, or the live one's parent.

        Raises:
            StoreError: there is no such version, or the live one has no parent.
            BundleError: that bundle is damaged.
        """
        with self.alone("publish") as check_lock:
            if version is None:
                current = self.current()
                version = self.manifest(current).parent_version
                if version is None:
                    raise StoreError(f"{self.root}: {current} has no parent to roll back to")
            self.verify(version)
            check_lock()
            self._point_to(version)
        return version

    def alone(self, what: str) -> AbstractContextManager[Callable[[], None]]:
        """Do something that only one may do at a time; gives a check that nobody took over.

        Raises:
            StoreError: somebody else is doing it.
        """
        return self.storage.locked(what)

    def _point_to(self, version: str) -> None:
        self.storage.write(POINTER, f"{version}\n".encode())
