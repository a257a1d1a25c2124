"""Which bundles of a store stay: the newest, the live one, and those that are pinned.

```
STORE/pins/<version>    this one stays whatever its age
```
"""

from bundle.errors import InputError, StoreError
from bundle.storage import VERSION
from bundle.store import BundleStore


def pinned(store: BundleStore, version: str) -> bool:
    """Whether a bundle stays whatever its age."""
    return VERSION.fullmatch(version) is not None and store.storage.read(_pin(version)) is not None


def pin(store: BundleStore, version: str) -> None:
    """Let a bundle stay whatever its age.

    Raises:
        StoreError: there is no such version, or somebody else is publishing.
    """
    with store.alone("publish"):
        store.manifest(version)
        store.storage.write(_pin(version), b"")


def unpin(store: BundleStore, version: str) -> None:
    """Let a bundle go by its age again.

    Raises:
        StoreError: it is not pinned, or somebody else is publishing.
    """
    with store.alone("publish"):
        if not pinned(store, version):
            raise StoreError(f"{store.root}: {version!r} is not pinned")
        store.storage.remove(_pin(version))


def collect(store: BundleStore, keep: int, dry_run: bool = False) -> list[str]:
    """Delete old bundles, and what killed publishers left behind.

    What stays: the newest, the live one, pinned ones, and those that a process on this machine has
    open from a local store.

    Args:
        store: whose bundles.
        keep: how many of the newest stay, at least 1.
        dry_run: delete nothing.

    Returns:
        The versions that went, oldest first.

    Raises:
        StoreError: somebody else is publishing, or the pointer names a bundle that is not there.
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
