"""Reader of bundles. It checks everything that could be wrong with a bundle before using it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.errors import BundleError
from bundle.format.checksums import VerifiedFiles
from bundle.format.encoders import ItemEncoder, UserEncoder
from bundle.format.index import load_index
from bundle.format.item_table import plain_table
from bundle.format.manifest import MANIFEST, Manifest
from bundle.format.scorer import EXACT_SEARCH, ItemScorer
from bundle.format.unreadable import reading
from bundle.format.writer import EncoderSample
from bundle.ids import IdMap
from bundle.onnx_runtime import DEFAULT_PROVIDERS
from bundle.types import Floats, Rows

ENCODER_TOLERANCE = 1e-3
"""Maximum difference between stored and recomputed outputs of a model. Float32 sums vary by less
with the version of ONNX Runtime and between CPU and GPU; a wrong file differs by much more."""
INDEX = "items.faiss"
INDEX_RESULTS = 20
"""Number of results whose scores are compared when the index is checked."""
BLOCK = 1_000_000
"""Interactions per block of a check: 8 MB."""
CHECKED = 4096
"""Rows of vectors per block of a check: 2 MB with 128 columns, which fit a core's cache."""
PART_TOLERANCE = 1e-4
"""Maximum difference between an element of a vector and the sum of its parts: float32 rounding."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to be served. Vectors and metadata are memory-mapped.

    Attributes as in `bundle.format.writer.BundleContents`, and:

    Attributes:
        popularity: [I] int64, number of interactions with each item, dislikes left out.
        index: FAISS index over item_vectors.
        item_scorer: exact search; None with inverted lists and in bundles of older versions.
        directory: where the files lie.
    """

    version: str
    manifest: Manifest
    users: IdMap
    items: IdMap
    user_vectors: Floats
    item_vectors: Floats
    item_parts: Floats
    seen: Csr
    seen_weights: Floats
    popularity: NDArray[np.int64]
    item_table: pa.Table
    index: Any
    item_encoder: ItemEncoder
    user_encoder: UserEncoder
    item_scorer: ItemScorer | None
    config: dict[str, Any]
    report: dict[str, Any]
    directory: Path

    @classmethod
    def load(
        cls,
        directory: Path,
        threads: int = 1,
        providers: tuple[str, ...] = DEFAULT_PROVIDERS,
    ) -> "Bundle":
        """Open a bundle after checking everything that could be wrong with it.

        Checked are the manifest, each checksum, shapes, finiteness, the size of the index, and the
        outputs of the models on known inputs.

        Args:
            directory: the bundle's directory.
            threads: number of threads of ONNX Runtime, and of the comparison of checksums.
            providers: execution providers of the encoders, in order of preference.

        Raises:
            BundleError: something does not fit; the message names the file.
        """
        manifest = Manifest.read(directory)
        with VerifiedFiles(directory, manifest, threads) as files:
            bundle = cls._open(manifest, files, directory, threads, providers)
            _check_seen(directory, bundle.seen)
            _check_parts(directory, bundle)
            _check_encoders(files.path("encoder_sample.npz"), bundle)
            _check_searches(directory, bundle)
            files.check_all()
        return bundle

    @classmethod
    def _open(
        cls,
        manifest: Manifest,
        files: VerifiedFiles,
        directory: Path,
        threads: int,
        providers: tuple[str, ...],
    ) -> "Bundle":
        n_items, dim = manifest.n_items, manifest.dim
        user_table = _map_table(files.path("users.arrow"))
        item_table = _map_table(files.path("items.arrow"))
        users = _read_ids(directory / "users.arrow", user_table, "user_id", manifest.n_users)
        items = _read_ids(directory / "items.arrow", item_table, "item_id", n_items)
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
            item_table=_plain_items(directory / "items.arrow", item_table),
            index=load_index(files.path(INDEX), manifest.index, n_items, dim),
            item_encoder=ItemEncoder(
                files.path("item_encoder.onnx"), manifest.modalities, threads, providers
            ),
            user_encoder=UserEncoder(files.path("user_encoder.onnx"), threads, providers),
            # `item_vectors.npy`, which the model reads, was compared above.
            item_scorer=ItemScorer(files.path(EXACT_SEARCH))
            if EXACT_SEARCH in manifest.files
            else None,
            config=_read_object(files.path("config.json")),
            report=_read_object(files.path("report.json")),
            directory=directory,
        )

    def history(self, user_idx: int) -> tuple[Rows, Floats]:
        """The user's interactions: item_idx [H], ascending, and weights [H]."""
        start, stop = self.seen.indptr[user_idx], self.seen.indptr[user_idx + 1]
        return self.seen.indices[start:stop], self.seen_weights[start:stop]


def _map_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    with reading(path):
        array = np.lib.format.open_memmap(path, mode="r")
    if array.shape != shape or array.dtype != dtype:
        raise BundleError(
            f"{path}: is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}"
        )
    return np.asarray(array)


def _map_vectors(path: Path, rows: int, dim: int) -> Floats:
    vectors = _map_array(path, (rows, dim), np.float32)
    _check_finite(path, vectors)
    return vectors


def _check_finite(path: Path, array: Floats) -> None:
    for start in range(0, len(array), CHECKED):
        block = array[start : start + CHECKED]
        finite = np.isfinite(block).reshape(len(block), -1).all(1)
        if not finite.all():
            raise BundleError(f"{path}: row {start + int(np.argmin(finite))} is not finite")


def _map_table(path: Path) -> pa.Table:
    """A table, in which every value is one of its column's type, text in UTF-8 for example."""
    with reading(path):
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)
    return table


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object that any response can contain: not deep, and null where a number is none."""
    with reading(path):
        found = orjson.loads(orjson.dumps(json.loads(path.read_bytes())))
    if not isinstance(found, dict):
        raise BundleError(f"{path}: is no JSON object")
    return found


def _plain_items(path: Path, table: pa.Table) -> pa.Table:
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise BundleError(f"{path}: column {name!r} occurs twice")
    with reading(path):
        return plain_table(table)


def _read_ids(path: Path, table: pa.Table, column: str, rows: int) -> IdMap:
    if column not in table.column_names or table.num_rows != rows:
        raise BundleError(f"{path}: expected {rows} rows with a column {column!r}")
    with reading(path):
        ids = table[column].to_pylist()
        if not all(isinstance(external, str) for external in ids):
            raise BundleError(f"{path}: {column} is not text in each row")
        return IdMap(ids, column)


def _check_seen(directory: Path, seen: Csr) -> None:
    """Each row must hold ascending rows of items, or requests would fail or show wrong items."""
    if seen.indptr[0] != 0 or (np.diff(seen.indptr) < 0).any():
        raise BundleError(f"{directory / 'seen_indptr.npy'}: is not ascending from 0")
    for start in range(0, seen.nnz, BLOCK):
        block = seen.indices[start : start + BLOCK + 1].astype(np.int64)
        ascending = np.diff(block) > 0
        first, last = np.searchsorted(seen.indptr, [start + 1, start + len(block)])
        ascending[seen.indptr[first:last] - start - 1] = True  # a row may begin with any item
        if not ascending.all() or block.min() < 0 or block.max() >= seen.n_cols:
            raise BundleError(
                f"{directory / 'seen_indices.npy'}: has rows that are not ascending numbers below "
                f"{seen.n_cols}"
            )


def _check_parts(directory: Path, bundle: "Bundle") -> None:
    """The parts must add up to the vectors, or explanations of scores would be wrong."""
    manifest = bundle.manifest
    if any(not 0 <= part.start < part.stop <= manifest.dim for part in manifest.parts):
        raise BundleError(f"{directory / MANIFEST}: parts are outside of columns 0…{manifest.dim}")
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
                f"{directory / 'item_parts.npy'}: row {row} does not add up to the item's vector"
            )


def _check_encoders(path: Path, bundle: Bundle) -> None:
    with reading(path):
        sample = EncoderSample.load(path)
        items = bundle.item_encoder.encode(sample.features, sample.present)
        users = bundle.user_encoder.encode(sample.history, sample.mask, sample.weights)
        outputs = {
            "item_encoder.onnx": (items, np.asarray(sample.item_vectors, np.float32)),
            "user_encoder.onnx": (users, np.asarray(sample.user_vectors, np.float32)),
        }
    for name, (found, expected) in outputs.items():
        if found.shape != expected.shape or found.shape[1:] != (bundle.manifest.dim,):
            raise BundleError(f"{path.with_name(name)}: output {found.shape}, not {expected.shape}")
        difference = float(np.abs(found - expected).max(initial=0.0))
        if not difference <= ENCODER_TOLERANCE:
            raise BundleError(
                f"{path.with_name(name)}: differs from the stored sample by {difference:.2g}"
            )


def _check_searches(directory: Path, bundle: Bundle) -> None:
    """Index and exact search must return inner products with the stored vectors."""
    if not len(bundle.items):
        return
    popular = int(np.argmax(bundle.popularity))  # a zero vector would prove nothing
    query = np.asarray(bundle.item_vectors[popular : popular + 1])
    path = directory / INDEX
    with reading(path, "FAISS cannot search it"):
        scores, rows = bundle.index.search(query, min(INDEX_RESULTS, len(bundle.items)))
        found = rows[0] >= 0  # the visited lists may hold fewer
        right = _close(scores[0, found], bundle.item_vectors[rows[0, found]] @ query[0])
    if not right:
        raise BundleError(f"{path}: does not return the inner products with item_vectors.npy")
    if bundle.item_scorer is None:
        return
    path = directory / EXACT_SEARCH
    with reading(path, "ONNX Runtime cannot run it"):
        right = _close(bundle.item_scorer.scores(query), query @ bundle.item_vectors.T)
    if not right:
        raise BundleError(f"{path}: does not return the inner products with item_vectors.npy")


def _close(found: Floats, expected: Floats) -> bool:
    return found.shape == expected.shape and np.allclose(
        found, expected, rtol=ENCODER_TOLERANCE, atol=ENCODER_TOLERANCE
    )
