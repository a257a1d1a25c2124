"""Errors of the libraries that read a bundle's files, as one error that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundle.errors import BundleError


@contextmanager
def reading(path: Path, reader: str = "cannot be read") -> Iterator[None]:
    """Turn whatever the `with` block raises into a BundleError that names a file.

    The libraries raise nearly anything on a damaged or foreign file: errors of their own, KeyError,
    EOFError, RecursionError, and MemoryError for sizes that a header makes up.

    Args:
        path: the file.
        reader: who could not do what with it, for the message.
    """
    try:
        yield
    except BundleError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BundleError(f"{path}: {reader} ({reason})") from error
