"""The files of a bundle: written once, checked at every load, never changed.

| file | content |
|---|---|
| manifest.json | what there is, with checksums (`bundle.manifest`) |
| user_vectors.npy, item_vectors.npy | [U, D] and [I, D] float32, memory-mapped |
| item_parts.npy | [I, ΣW] float32, what each part adds to the items' vectors, memory-mapped |
| users.arrow, items.arrow | ids in row order (`user_id`, `item_id`), item metadata |
| seen_indptr.npy, seen_indices.npy | the interactions, a `Csr` |
| seen_weights.npy | [nnz] float32, what each counts; below 0 against |
| popularity.npy | [I] int64, interactions of each item that count for it |
| items.faiss | the index |
| user_encoder.onnx, item_encoder.onnx | fold-in of users, vectors for new items |
| encoder_sample.npz | inputs and outputs of the encoders, to check them where they are loaded |
| config.json, report.json | the resolved configuration, the evaluation on valid |
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.ids import IdMap
from bundle.index import build_index, save_index
from bundle.manifest import MANIFEST, IndexInfo, Manifest, Part, Taken, Verdict, describe

BLOCK = 65_536
"""Rows of large arrays that are looked at a time."""
INDEX_SAMPLE = 200
"""Users by whose vectors the index is tuned."""
CLOCKS_DIFFER = timedelta(minutes=10)
"""How far the clock of another publisher may be ahead."""


@dataclass(frozen=True)
class EncoderSample:
    """Inputs of the two encoders and what torch made of them.

    Attributes:
        features: by modality [S, F_m].
        present: [S, M].
        item_vectors: [S, D], the item encoder's output.
        history: [S, H, D] item vectors.
        mask: [S, H].
        weights: [S, H].
        user_vectors: [S, D], the user encoder's output.
    """

    features: Mapping[str, NDArray[np.float32]]
    present: NDArray[np.bool_]
    item_vectors: NDArray[np.float32]
    history: NDArray[np.float32]
    mask: NDArray[np.bool_]
    weights: NDArray[np.float32]
    user_vectors: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write all arrays to one `.npz`."""
        arrays: dict[str, Any] = {f"features.{name}": x for name, x in self.features.items()}
        arrays |= {name: x for name, x in vars(self).items() if name != "features"}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "EncoderSample":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            features = {n[9:]: arrays[n] for n in arrays if n.startswith("features.")}
            rest = {n: arrays[n] for n in arrays if not n.startswith("features.")}
        return cls(features=features, **rest)


@dataclass(frozen=True)
class BundleContents:
    """What a trainer hands over to be written. Large arrays may be memory-mapped files.

    Attributes:
        users, items: the caller's ids.
        user_vectors, item_vectors: [U, D] and [I, D] float32; a zero row has no taste of its own.
        parts: what the columns are made of.
        item_parts: [I, ΣW] float32, what each part adds to its columns of item_vectors.
        modalities: name → F_m, the inputs of the item encoder.
        seen: users × items, interactions.
        seen_weights: [nnz] float32 what each counts; None where each counts 1.
        item_table: metadata in item_idx order, `item_id` first.
        user_encoder, item_encoder: ONNX files' bytes.
        encoder_sample: what the encoders must reproduce.
        config, report: JSON objects.
        data_fingerprint, parent_version, taken: see `Manifest`.
    """

    users: IdMap
    items: IdMap
    user_vectors: NDArray[np.float32]
    item_vectors: NDArray[np.float32]
    parts: list[Part]
    item_parts: NDArray[np.float32]
    modalities: dict[str, int]
    seen: Csr
    item_table: pa.Table
    user_encoder: bytes
    item_encoder: bytes
    encoder_sample: EncoderSample
    config: dict[str, Any]
    report: dict[str, Any]
    data_fingerprint: str
    parent_version: str | None = None
    taken: Taken = field(default_factory=Taken)
    seen_weights: NDArray[np.float32] | None = None


def _write_table(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def write_bundle(
    directory: Path, contents: BundleContents, others: Iterable[datetime] = ()
) -> Manifest:
    """Write all files into an empty directory, the manifest last.

    Args:
        directory: an empty one.
        contents: what is written.
        others: when the bundles beside it were made; see `_time_of_making`.

    Returns:
        The manifest, of which `version()` is the name that the directory should get.
    """
    c = contents
    np.save(directory / "user_vectors.npy", c.user_vectors)
    np.save(directory / "item_vectors.npy", c.item_vectors)
    np.save(directory / "item_parts.npy", c.item_parts)
    np.save(directory / "seen_indptr.npy", c.seen.indptr)
    np.save(directory / "seen_indices.npy", c.seen.indices)
    weights = np.ones(c.seen.nnz, np.float32) if c.seen_weights is None else c.seen_weights
    np.save(directory / "seen_weights.npy", weights)
    np.save(directory / "popularity.npy", popularity(c.seen, weights))
    _write_table(
        pa.table({"user_id": pa.array(c.users.ids, pa.string())}), directory / "users.arrow"
    )
    _write_table(c.item_table, directory / "items.arrow")
    (directory / "user_encoder.onnx").write_bytes(c.user_encoder)
    (directory / "item_encoder.onnx").write_bytes(c.item_encoder)
    c.encoder_sample.save(directory / "encoder_sample.npz")
    (directory / "config.json").write_text(json.dumps(c.config, indent=1))
    (directory / "report.json").write_text(json.dumps(c.report, indent=1))
    index, index_info = build_index(c.item_vectors, _some_tastes(c.user_vectors))
    save_index(index, directory / "items.faiss")
    return _write_manifest(directory, contents, index_info, _time_of_making(others))


def popularity(seen: Csr, weights: NDArray[np.float32]) -> NDArray[np.int64]:
    """Interactions of each item [I] that count for it."""
    counts = np.zeros(seen.n_cols, np.int64)
    for start in range(0, seen.nnz, BLOCK):
        block = slice(start, start + BLOCK)
        counts += np.bincount(seen.indices[block][weights[block] > 0], minlength=seen.n_cols)
    return counts


def _some_tastes(user_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first vectors that are not zero, INDEX_SAMPLE at most."""
    found = np.empty((0, user_vectors.shape[1]), np.float32)
    for start in range(0, len(user_vectors), BLOCK):
        block = user_vectors[start : start + BLOCK]
        found = np.concatenate([found, block[np.any(block, axis=1)]])[:INDEX_SAMPLE]
        if len(found) == INDEX_SAMPLE:
            break
    return found


def seal(directory: Path, manifest: Manifest, verdict: Verdict) -> Manifest:
    """Put the gate's verdict into a bundle that was just written; its version changes."""
    sealed = manifest.model_copy(update={"gate": verdict})
    (directory / MANIFEST).write_bytes(sealed.to_bytes())
    return sealed


def _time_of_making(others: Iterable[datetime]) -> datetime:
    """Now, in whole seconds, or a second after the newest of the others.

    Versions are sorted by this time, so bundles of one second, or of publishers whose clocks
    differ, must not change places. What a clock made that was far ahead is not followed: the age of
    all later bundles would be wrong.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    near = (made + timedelta(seconds=1) for made in others if made < now + CLOCKS_DIFFER)
    return max([now, *near])


def _write_manifest(
    directory: Path, c: BundleContents, index_info: IndexInfo, created_at: datetime
) -> Manifest:
    manifest = Manifest(
        created_at=created_at,
        parent_version=c.parent_version,
        data_fingerprint=c.data_fingerprint,
        n_users=len(c.users),
        n_items=len(c.items),
        dim=c.item_vectors.shape[1],
        parts=c.parts,
        modalities=c.modalities,
        index=index_info,
        taken=c.taken,
        files={path.name: describe(path) for path in sorted(directory.iterdir())},
    )
    (directory / MANIFEST).write_bytes(manifest.to_bytes())
    return manifest
