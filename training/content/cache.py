"""Cache of content vectors in a SQLite file, keyed by a hash of encoder and content.

Entries never become stale: files may be renamed, items reordered and encoders exchanged. The file
may be deleted at any time.
"""

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from bundle.content.onnx_model import ContentEncoder
from bundle.errors import InputError

CACHE_FILE = "features.sqlite3"
_WAIT_S = 60.0
"""Time-out for SQLite's lock, in seconds; another process commits more often than that."""
_RECIPE = b"2"
"""Version of the code between content and vector; raise it when that code changes, to invalidate
caches."""


def encoder_fingerprint(encoder: ContentEncoder) -> str:
    """Fingerprint of an encoder: sha256 hex of its files and its specification.

    Raises:
        InputError: a file cannot be read.
    """
    digest = hashlib.sha256(_RECIPE)
    digest.update(encoder.spec.model_dump_json(exclude={"model", "tokenizer"}).encode())
    model = encoder.model
    try:
        graph = onnx.load(str(model), "protobuf", load_external_data=False).graph
        # Weights above 2 GiB are stored in separate files, to which the model only refers.
        weights = {
            model.parent / ExternalDataInfo(tensor).location
            for tensor in graph.initializer
            if uses_external_data(tensor)
        }
        for path in (model, *encoder.parts, *sorted(weights)):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def content_key(fingerprint: str, content: bytes) -> bytes:
    """Cache key [32 bytes] of a content for the encoder with this fingerprint."""
    return hashlib.sha256(fingerprint.encode() + b"\0" + content).digest()


class VectorCache:
    """Cache of float32 vectors by key; safe for several processes, for one thread in each.

    A damaged file is replaced by an empty one, because all its entries can be computed again.

    Args:
        path: the SQLite file.

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
            "set XDG_CACHE_HOME to a writable folder"
        )

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, NDArray[np.float32]]:
        """Known vectors [dim] among some keys."""
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
        """Store vectors and commit."""
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
