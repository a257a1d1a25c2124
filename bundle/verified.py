"""The files of a bundle, none of which is opened before its checksum was compared."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from bundle.errors import BundleError
from bundle.manifest import FileEntry, Manifest, describe


class VerifiedFiles:
    """Checksums in threads, while the files that were compared are already being read; `with` it.

    Small files come first: tables of ids, which take Python's time, are read while the large ones
    are compared, which takes none of it.

    Args:
        directory: where the files lie.
        manifest: what they have to be.
        threads: files that are compared at a time.
    """

    def __init__(self, directory: Path, manifest: Manifest, threads: int = 1) -> None:
        self._directory = directory
        self._pool = ThreadPoolExecutor(threads, "checksum")
        by_size = sorted(manifest.files.items(), key=lambda entry: entry[1].size)
        self._checks: dict[str, Future[None]] = {
            name: self._pool.submit(_compare, directory / name, expected)
            for name, expected in by_size
        }

    def __enter__(self) -> "VerifiedFiles":
        """Nothing is to be waited for."""
        return self

    def __exit__(self, *_: object) -> None:
        """Begin no more comparisons."""
        self._pool.shutdown(cancel_futures=True)

    def path(self, name: str) -> Path:
        """Where a file lies, once it was compared.

        Raises:
            BundleError: it is missing, has another size or checksum, or is not in the manifest.
        """
        check = self._checks.get(name)
        if check is None:
            raise BundleError(f"{self._directory / name}: is not in the manifest")
        check.result()
        return self._directory / name

    def check_all(self) -> None:
        """Wait for every file of the manifest.

        Raises:
            BundleError: as `path`.
        """
        for name in self._checks:
            self.path(name)


def _compare(path: Path, expected: FileEntry) -> None:
    if not path.is_file():
        raise BundleError(f"{path}: is missing")
    expected.compare(describe(path), path)
