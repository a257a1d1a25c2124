"""Vectors that were computed before, by what they were computed from.

One SQLite file. The key is a hash of the encoder and of the content, so nothing in it is ever out
of date: files may be renamed, items reordered, encoders exchanged. It may be deleted at any time.
"""

import hashlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bundle.errors import InputError

CACHE_FILE = "features.sqlite3"
_WAIT_S = 60.0


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/drepmrec`, by default `~/.cache/drepmrec`; not created here."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "drepmrec"


def content_key(fingerprint: str, content: bytes) -> bytes:
    """Key [32 bytes] of what the encoder `fingerprint` makes of `content`."""
    return hashlib.sha256(fingerprint.encode() + b"\0" + content).digest()


class VectorCache:
    """float32 vectors by key, safe for several processes; for the thread that opened it.

    A file that is not a database, or a damaged one, is replaced by an empty one: it holds nothing
    that cannot be computed again.

    Raises:
        InputError: the file cannot be created or written, or stays locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
        except OSError as error:
            raise self._unusable(error.strerror) from error

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError:
            self.path.unlink()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_WAIT_S)
        try:
            with db:
                db.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB)")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _start_over(self) -> None:
        self._db.close()
        self.path.unlink(missing_ok=True)
        self._db = self._open()

    def _unusable(self, reason: object) -> InputError:
        return InputError(
            f"{self.path}: the cache cannot be used ({reason}); "
            "set XDG_CACHE_HOME to a folder that can be written"
        )

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, NDArray[np.float32]]:
        """Those of the vectors [dim] that are known."""
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
        try:
            rows = self._db.execute(query, list(keys)).fetchall()
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError:
            self._start_over()
            return {}
        return {
            key: np.frombuffer(vector, np.float32) for key, vector in rows if len(vector) == 4 * dim
        }

    def put(self, vectors: Mapping[bytes, NDArray[np.float32]]) -> None:
        """Stores and commits; a run that is killed afterwards finds them again."""
        rows = [(key, vector.tobytes()) for key, vector in vectors.items()]
        try:
            self._insert(rows)
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from error
        except sqlite3.DatabaseError:
            self._start_over()
            self._insert(rows)

    def _insert(self, rows: list[tuple[bytes, bytes]]) -> None:
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT count(*) FROM vectors").fetchone()
        return int(count)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()
