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
from bundle.format.consistency import (
    CHECKED,
    INDEX,
    SIMILAR,
    check_encoders,
    check_parts,
    check_searches,
    check_seen,
)
from bundle.format.encoders import ItemEncoder, UserEncoder
from bundle.format.index import load_index
from bundle.format.item_table import plain_column, plain_table
from bundle.format.lists import InvertedLists, ItemVectors
from bundle.format.manifest import Manifest, without_popularity
from bundle.format.scorer import EXACT_SEARCH, ItemScorer
from bundle.format.unreadable import reading
from bundle.ids import IdMap
from bundle.onnx_runtime import DEFAULT_PROVIDERS
from bundle.types import Floats, Rows


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to be served. Vectors and metadata are memory-mapped.

    Attributes as in `bundle.format.writer.BundleContents`, and:

    Attributes:
        popularity: [I] int64, number of interactions with each item, dislikes left out.
        index: FAISS index over item_vectors.
        lists: search in the index; None if it is flat.
        similar: search by cosine; None with a flat index and in bundles of older versions.
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
    lists: InvertedLists | None
    similar: InvertedLists | None
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
            check_seen(directory, bundle.seen)
            check_parts(directory, manifest, bundle.item_vectors, bundle.item_parts)
            check_encoders(
                files.path("encoder_sample.npz"),
                manifest.dim,
                bundle.item_encoder,
                bundle.user_encoder,
            )
            if len(bundle.items):
                check_searches(
                    directory,
                    bundle.index,
                    bundle.similar,
                    bundle.item_scorer,
                    bundle.item_vectors,
                    int(np.argmax(bundle.popularity)),
                )
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
        users = _read_ids(files, manifest, "users", user_table, "user_id", manifest.n_users)
        items = _read_ids(files, manifest, "items", item_table, "item_id", n_items)
        item_vectors = _map_vectors(files.path("item_vectors.npy"), n_items, dim)
        index = load_index(files.path(INDEX), manifest.index, n_items, dim)
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
            item_vectors=item_vectors,
            item_parts=_map_vectors(files.path("item_parts.npy"), n_items, widths),
            seen=seen,
            seen_weights=weights,
            popularity=_map_array(files.path("popularity.npy"), (n_items,), np.int64),
            item_table=_plain_items(directory / "items.arrow", item_table),
            index=index,
            lists=None
            if manifest.index.kind == "flat"
            else InvertedLists(index, manifest.index, ItemVectors(item_vectors, dim)),
            similar=_open_similar(files, manifest, item_vectors),
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


def _read_ids(
    files: VerifiedFiles, manifest: Manifest, name: str, table: pa.Table, column: str, rows: int
) -> IdMap:
    path = files.path(f"{name}.arrow")
    if column not in table.column_names or table.num_rows != rows:
        raise BundleError(f"{path}: expected {rows} rows with a column {column!r}")
    order_file = f"{name}_order.npy"
    order = None
    if order_file in manifest.files:
        order = _map_array(files.path(order_file), (rows,), np.int32)
        if rows and (order.min() < 0 or order.max() >= rows):
            raise BundleError(f"{files.path(order_file)}: has numbers that are no rows of {path}")
    with reading(path):
        ids = plain_column(table[column])
        if ids.type != pa.string() or ids.null_count:
            raise BundleError(f"{path}: {column} is not text in each row")
        # A single chunk, as bundles are written, stays in the mapped file.
        return IdMap(ids.chunk(0) if ids.num_chunks == 1 else ids.combine_chunks(), column, order)


def _open_similar(
    files: VerifiedFiles, manifest: Manifest, vectors: Floats
) -> InvertedLists | None:
    info = manifest.index.similar
    if info is None:
        return None
    columns = without_popularity(manifest.parts)
    index = load_index(files.path(SIMILAR), info, len(vectors), columns)
    return InvertedLists(index, info, ItemVectors(vectors, columns, unit=True))
