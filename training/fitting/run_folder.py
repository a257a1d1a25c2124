"""Folder of a fit: checkpoint and TensorBoard files, of one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from bundle.errors import StoreError

LOCK = ".fit.lock"


@contextmanager
def run_folder(path: Path) -> Iterator[None]:
    """Create a folder and keep other fits out of it, whose checkpoint would replace this one's.

    Raises:
        StoreError: another process is fitting there, or nothing can be written there.
    """
    lock = FileLock(path / LOCK)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise StoreError(
            f"{path}: another process is fitting there; wait for it, or choose another --run"
        ) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()
