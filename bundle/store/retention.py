"""Retention of bundles: the newest, the live one and pinned ones are kept.

```
STORE/pins/<version>    an empty file: this bundle is kept whatever its age
```
"""

from bundle.errors import InputError, StoreError
from bundle.store.backend import VERSION
from bundle.store.store import BundleStore


def pinned(store: BundleStore, version: str) -> bool:
    """True if a bundle is pinned, that is kept whatever its age."""
    return VERSION.fullmatch(version) is not None and store.storage.read(_pin(version)) is not None


def pin(store: BundleStore, version: str) -> None:
    """Keep a bundle whatever its age.

    Raises:
        StoreError: there is no such version, or another process is publishing.
    """
    with store.alone("publish"):
        store.manifest(version)
        store.storage.write(_pin(version), b"")


def unpin(store: BundleStore, version: str) -> None:
    """Let `collect` delete a bundle again.

    Raises:
        StoreError: it is not pinned, or another process is publishing.
    """
    with store.alone("publish"):
        if not pinned(store, version):
            raise StoreError(f"{store.root}: {version!r} is not pinned")
        store.storage.remove(_pin(version))


def collect(store: BundleStore, keep: int, dry_run: bool = False) -> list[str]:
    """Delete old bundles, and incomplete ones of publishers that died.

    Kept are the newest bundles, the live one, pinned ones, and in a local store those that a
    process on this machine has open.

    Args:
        store: the store.
        keep: number of newest bundles to keep, at least 1.
        dry_run: delete nothing.

    Returns:
        The deleted versions, oldest first; in a dry run those that would be deleted.

    Raises:
        InputError: `keep` is below 1.
        StoreError: another process is publishing, or the pointer names a bundle that does not
            exist.
    """
    if keep < 1:
        raise InputError(f"keep: must be at least 1, got {keep}")
    with store.alone("publish") as check_lock:
        live = None if store.live_version() is None else store.current()
        old = [v for v in store.versions()[:-keep] if v != live and not pinned(store, v)]
        if dry_run:
            return old
        store.storage.remove_leftovers()
        gone = []
        for version in old:
            check_lock()
            if store.storage.delete(version):
                gone.append(version)
        return gone


def _pin(version: str) -> str:
    return f"pins/{version}"
