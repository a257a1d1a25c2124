"""Opening a bundle: everything that could be wrong with it is checked first."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.contents import EncoderSample
from bundle.csr import Csr
from bundle.encoders import ItemEncoder, UserEncoder
from bundle.errors import BundleError, InputError
from bundle.ids import IdMap
from bundle.index import load_index
from bundle.manifest import MANIFEST, Manifest
from bundle.verified import VerifiedFiles

ENCODER_TOLERANCE = 1e-3
"""Largest difference between an encoder's stored and recomputed sample outputs: graph rewrites
of another ONNX Runtime version or a GPU change float32 sums, a wrong file changes much more."""
CHECKED = 4096
"""Rows of vectors that are looked at a time: 2 MB of 128 columns, which a core's cache holds."""
PART_TOLERANCE = 1e-4
"""Largest difference between a vector's element and the sum of its parts."""


def verify_files(directory: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest.

    Raises:
        BundleError: a file is missing, has another size or another checksum.
    """
    with VerifiedFiles(directory, manifest) as files:
        files.check_all()


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to be served. Vectors and metadata are memory-mapped.

    Attributes as in `bundle.contents.BundleContents`; index is a FAISS index over item_vectors,
    popularity is [I] int64, the interactions that count for each item, directory is where it lies.
    """

    version: str
    manifest: Manifest
    users: IdMap
    items: IdMap
    user_vectors: NDArray[np.float32]
    item_vectors: NDArray[np.float32]
    item_parts: NDArray[np.float32]
    seen: Csr
    seen_weights: NDArray[np.float32]
    popularity: NDArray[np.int64]
    item_table: pa.Table
    index: Any
    item_encoder: ItemEncoder
    user_encoder: UserEncoder
    config: dict[str, Any]
    report: dict[str, Any]
    directory: Path

    @classmethod
    def load(cls, directory: Path, threads: int = 1) -> "Bundle":
        """Open a bundle after checking everything that could be wrong with it.

        Checked are the manifest, each checksum, shapes, finiteness, the index's size, and the
        encoders' outputs on the stored sample.

        Raises:
            BundleError: something does not fit; the message names the file.
        """
        manifest = Manifest.read(directory)
        with VerifiedFiles(directory, manifest, threads) as files:
            bundle = cls._open(manifest, files, directory, threads)
            _check_parts(directory, bundle)
            _check_encoders(files.path("encoder_sample.npz"), bundle)
            files.check_all()
        return bundle

    @classmethod
    def _open(
        cls, manifest: Manifest, files: VerifiedFiles, directory: Path, threads: int
    ) -> "Bundle":
        n_items, dim = manifest.n_items, manifest.dim
        users = _read_ids(files.path("users.arrow"), "user_id", manifest.n_users)
        items = _read_ids(files.path("items.arrow"), "item_id", n_items)
        indptr = _map_array(files.path("seen_indptr.npy"), (len(users) + 1,), np.int64)
        indices = _map_array(files.path("seen_indices.npy"), (int(indptr[-1]),), np.int32)
        seen = Csr(indptr, indices, n_items)
        weights = _map_array(files.path("seen_weights.npy"), (seen.nnz,), np.float32)
        _check_finite(files.path("seen_weights.npy"), weights)
        widths = sum(part.stop - part.start for part in manifest.parts)
        return cls(
            version=manifest.version(),
            manifest=manifest,
            users=users,
            items=items,
            user_vectors=_map_vectors(files.path("user_vectors.npy"), len(users), dim),
            item_vectors=_map_vectors(files.path("item_vectors.npy"), n_items, dim),
            item_parts=_map_vectors(files.path("item_parts.npy"), n_items, widths),
            seen=seen,
            seen_weights=weights,
            popularity=_map_array(files.path("popularity.npy"), (n_items,), np.int64),
            item_table=_map_table(files.path("items.arrow")),
            index=load_index(files.path("items.faiss"), manifest.index, n_items, dim),
            item_encoder=ItemEncoder(files.path("item_encoder.onnx"), manifest.modalities, threads),
            user_encoder=UserEncoder(files.path("user_encoder.onnx"), threads),
            config=json.loads(files.path("config.json").read_bytes()),
            report=json.loads(files.path("report.json").read_bytes()),
            directory=directory,
        )

    def history(self, user_idx: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """item_idx [H], ascending, that a user interacted with, and what each counts [H]."""
        start, stop = self.seen.indptr[user_idx], self.seen.indptr[user_idx + 1]
        return self.seen.indices[start:stop], self.seen_weights[start:stop]


def _map_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    if array.shape != shape or array.dtype != dtype:
        raise BundleError(
            f"{path}: is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}"
        )
    return np.asarray(array)


def _map_vectors(path: Path, rows: int, dim: int) -> NDArray[np.float32]:
    vectors = _map_array(path, (rows, dim), np.float32)
    _check_finite(path, vectors)
    return vectors


def _check_finite(path: Path, array: NDArray[np.float32]) -> None:
    for start in range(0, len(array), CHECKED):
        block = array[start : start + CHECKED]
        finite = np.isfinite(block).reshape(len(block), -1).all(1)
        if not finite.all():
            raise BundleError(f"{path}: row {start + int(np.argmin(finite))} is not finite")


def _map_table(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error


def _read_ids(path: Path, column: str, rows: int) -> IdMap:
    table = _map_table(path)
    if column not in table.column_names or table.num_rows != rows:
        raise BundleError(f"{path}: expected {rows} rows with a column {column!r}")
    try:
        return IdMap(table[column].to_pylist(), column)
    except InputError as error:
        raise BundleError(f"{path}: {error}") from error


def _check_parts(directory: Path, bundle: "Bundle") -> None:
    """What the parts add must be what the vectors are, so that explanations hold."""
    manifest = bundle.manifest
    if any(not 0 <= part.start < part.stop <= manifest.dim for part in manifest.parts):
        raise BundleError(f"{directory / MANIFEST}: parts are outside columns 0…{manifest.dim}")
    for start in range(0, manifest.n_items, CHECKED):
        rows = slice(start, start + CHECKED)
        rest = np.array(bundle.item_vectors[rows])
        for number, part in enumerate(manifest.parts):
            rest[:, part.start : part.stop] -= bundle.item_parts[
                rows, manifest.part_columns(number)
            ]
        wrong = (np.abs(rest) > PART_TOLERANCE).any(1)
        if wrong.any():
            row = start + int(np.argmax(wrong))
            raise BundleError(
                f"{directory / 'item_parts.npy'}: row {row} is not its vector's parts"
            )


def _check_encoders(path: Path, bundle: Bundle) -> None:
    sample = EncoderSample.load(path)
    outputs = {
        "item_encoder.onnx": (
            bundle.item_encoder.encode(sample.features, sample.present),
            sample.item_vectors,
        ),
        "user_encoder.onnx": (
            bundle.user_encoder.encode(sample.history, sample.mask, sample.weights),
            sample.user_vectors,
        ),
    }
    for name, (found, expected) in outputs.items():
        if found.shape != expected.shape or found.shape[1] != bundle.manifest.dim:
            raise BundleError(f"{path.with_name(name)}: makes {found.shape}, not {expected.shape}")
        difference = float(np.abs(found - expected).max(initial=0.0))
        if not difference <= ENCODER_TOLERANCE:
            raise BundleError(
                f"{path.with_name(name)}: differs from the stored sample by {difference:.2g}"
            )
