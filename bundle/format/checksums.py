"""Checksums of a bundle's files. No file is opened before its checksum was compared."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from bundle.errors import BundleError
from bundle.format.manifest import FileEntry, Manifest, describe
from bundle.format.unreadable import reading


class VerifiedFiles:
    """Comparison of checksums in threads, for use with `with`.

    Files that passed can be read while others are still compared. Small files come first: they
    hold the tables of ids, whose parsing needs the interpreter; SHA-256 of the large ones does not.

    Args:
        directory: the bundle's directory.
        manifest: the expected sizes and checksums.
        threads: number of files that are compared at the same time.
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
        """The comparisons have begun."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for running comparisons and cancel the others."""
        self._pool.shutdown(cancel_futures=True)
        # An error has the frames that it passed, which have this object: the cycle would keep all
        # that they have, such as a bundle with its lock, until garbage is collected.
        self._checks.clear()

    def path(self, name: str) -> Path:
        """Path of a file, as soon as its checksum was compared.

        Raises:
            BundleError: the file is missing, altered or not in the manifest.
        """
        check = self._checks.get(name)
        if check is None:
            raise BundleError(f"{self._directory / name}: is not in the manifest")
        try:
            check.result()
        finally:
            del check  # another such cycle
        return self._directory / name

    def check_all(self) -> None:
        """Wait for the comparison of every file.

        Raises:
            BundleError: a file is missing or altered.
        """
        for name in self._checks:
            self.path(name)


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Compare every file of a bundle with its manifest.

    Raises:
        BundleError: a file is missing, or has another size or checksum.
    """
    with VerifiedFiles(directory, manifest) as files:
        files.check_all()


def _compare(path: Path, expected: FileEntry) -> None:
    if not path.is_file():
        raise BundleError(f"{path}: is missing")
    with reading(path):
        expected.compare(describe(path), path)
