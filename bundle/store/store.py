"""The bundle store: bundles by version, and a pointer to the live one.

```
STORE/
  CURRENT                 the live version; written last, atomically
  bundles/<version>/…     immutable; complete or absent
  pins/<version>          see `bundle.store.retention`
```
STORE is a local directory (`bundle.store.local`) or the URL of an object store
(`bundle.store.object_store`), whose bundles are opened from copies in a local cache.
"""

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bundle.errors import BundleError, StoreError
from bundle.format.manifest import MANIFEST, Manifest, Verdict, made_at
from bundle.onnx_runtime import DEFAULT_PROVIDERS
from bundle.store.backend import Storage
from bundle.store.download_cache import DownloadCache
from bundle.store.local import LocalStorage
from bundle.store.object_store import ObjectStorage
from bundle.store.url import parse_root

if TYPE_CHECKING:  # they load FAISS, which listing and copying do not need
    from bundle.format.reader import Bundle
    from bundle.format.writer import BundleContents

POINTER = "CURRENT"


class BundleStore:
    """Bundles in a local directory or an object store.

    The constructor reads and writes nothing. If the store cannot be used, every method raises a
    StoreError that names the file or object.

    Args:
        root: a directory, or a URL: `s3://bucket/prefix`, `gs://…`, `az://…`, `memory://…`.
        cache: directory for copies of an object store's bundles; `~/.cache/drepmrec` if None.

    Raises:
        InputError: the URL has an unknown scheme, no bucket, or credentials in it.
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
        """Local directory for intermediate results, from which an interrupted run continues."""
        return self.storage.work_folder

    def versions(self) -> list[str]:
        """All complete bundles, oldest first."""
        found, live = self.storage.versions(), self.live_version()
        if live is not None and live not in found and self.storage.has(live):
            found = sorted([*found, live])  # a listing may lag behind
        return found

    def current(self) -> str:
        """The live version.

        Raises:
            StoreError: nothing is published, or the pointer names a bundle that does not exist.
        """
        version = self.live_version()
        if version is None:
            raise StoreError(f"{self.root}: nothing is published in this store")
        if not self.storage.has(version):
            raise StoreError(f"{self.root}: {POINTER} names {version!r}, which does not exist")
        return version

    def live_version(self) -> str | None:
        """Content of the pointer; None if nothing was ever published."""
        raw = self.storage.read(POINTER)
        return None if raw is None else raw.decode(errors="replace").strip()

    def check_usable(self) -> None:
        """Read the pointer, and write and delete a small file.

        For work of hours that ends with a publication, so that it fails before and not after.

        Raises:
            StoreError: the store cannot be read or written.
        """
        self.live_version()
        name = f".check-{uuid4().hex}"
        self.storage.write(name, b"drepmrec")
        self.storage.remove(name)

    def manifest(self, version: str) -> Manifest:
        """The manifest of a bundle; raises as `load`."""
        return self.storage.manifest(version)

    def path(self, version: str) -> Path:
        """Directory of a bundle, or of its local copy.

        Raises:
            StoreError: there is no such version.
        """
        held = self.storage.hold(version)
        held.release()
        return held.path

    def load(
        self,
        version: str | None = None,
        threads: int = 1,
        providers: tuple[str, ...] = DEFAULT_PROVIDERS,
    ) -> "Bundle":
        """Open a bundle, by default the live one.

        While the returned bundle is referenced, `collect` on this machine does not delete its
        files.

        Args:
            version: the bundle's version.
            threads: number of threads of ONNX Runtime, and of the comparison of checksums.
            providers: execution providers of the encoders, in order of preference.

        Raises:
            StoreError: there is no such version.
            BundleError: the bundle is damaged, or is not the one that its directory's name says.
        """
        from bundle.format.reader import Bundle

        version = version or self.current()
        while True:
            held = self.storage.hold(version)
            try:
                Manifest.read(held.path).check_version(version, held.path / MANIFEST)
                bundle = Bundle.load(held.path, threads, providers)
            except BaseException as error:
                held.release()
                damaged_copy = isinstance(error, BundleError) and not held.fresh
                if not (damaged_copy and self.storage.forget(version)):
                    raise
            else:
                weakref.finalize(bundle, held.release)
                return bundle

    def verify(self, version: str) -> Manifest:
        """Open a bundle as the service would, and return its manifest; raises as `load`.

        In an object store, both the objects and the local copy are checked.
        """
        self.storage.check(version)
        return self.load(version).manifest

    def publish(
        self,
        contents: "BundleContents",
        judge: "Callable[[Bundle], Verdict] | None" = None,
        prepare: "Callable[[Bundle], None] | None" = None,
    ) -> str:
        """Write a bundle, open it as the service would, and make it the live one.

        A crash at any moment leaves the pointer unchanged; the next call cleans up. The new version
        sorts behind all others, even those of the same second.

        Args:
            contents: the contents of the bundle.
            judge: callback that evaluates the candidate. Its return value is stored in the
                manifest; it raises to refuse publication.
            prepare: callback that gets the candidate under its final version, before it is live.

        Returns:
            The new version.

        Raises:
            StoreError: another process is publishing.
            BundleError: the written bundle does not load.
        """
        from bundle.format.writer import write_bundle

        def write(staging: Path) -> Manifest:
            return write_bundle(staging, contents, map(made_at, self.versions()))

        return self._take_in(write, judge, prepare)

    def copy(self, source: "BundleStore", version: str | None = None) -> str:
        """Copy a bundle from another store, by default its live one, and make it live here.

        Returns:
            The version.

        Raises:
            StoreError: another process is publishing, or the source has no such bundle.
            BundleError: the bundle is damaged.
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
        judge: "Callable[[Bundle], Verdict] | None" = None,
        prepare: "Callable[[Bundle], None] | None" = None,
    ) -> str:
        from bundle.format.reader import Bundle
        from bundle.format.writer import seal

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
        """Make an earlier bundle live again, by default the parent of the live one.

        Returns:
            The version that is live now.

        Raises:
            StoreError: there is no such version, or the live bundle has no parent.
            BundleError: the bundle is damaged.
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
        """A lock on an action (`publish`, `refresh`), for use with `with`.

        Returns:
            Context manager that yields a function. The function raises StoreError if the lock was
            lost in the meantime; call it before a step that cannot be undone.

        Raises:
            StoreError: on entering, another process holds the lock.
        """
        return self.storage.locked(what)

    def _point_to(self, version: str) -> None:
        self.storage.write(POINTER, f"{version}\n".encode())
