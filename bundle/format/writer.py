"""Writer of bundles. The files are written once, checked at every load and never changed.

| file | content |
|---|---|
| manifest.json | versions, dimensions and checksums (`bundle.format.manifest`) |
| user_vectors.npy, item_vectors.npy | [U, D] and [I, D] float32, memory-mapped |
| item_parts.npy | [I, ΣW] float32, contribution of each part to the item vectors, memory-mapped |
| users.arrow, items.arrow | ids in row order (`user_id`, `item_id`), item metadata |
| seen_indptr.npy, seen_indices.npy | the interactions, a `Csr` |
| seen_weights.npy | [nnz] float32, weights of the interactions; below 0 for a dislike |
| popularity.npy | [I] int64, number of interactions with each item, dislikes left out |
| items.faiss | the index |
| similar.faiss | index of the vectors at length 1, for similar items; with inverted lists only |
| users_order.npy, items_order.npy | [n] int32, rows in the order of their ids, of many ids only |
| exact_search.onnx | inner products with all items (`bundle.format.scorer`); optional |
| user_encoder.onnx, item_encoder.onnx | fold-in of users, vectors for new items |
| encoder_sample.npz | inputs of the encoders and expected outputs, compared at every load |
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
from bundle.format.index import BUDGET, Sample, build_indexes, save_index
from bundle.format.manifest import (
    MANIFEST,
    IndexInfo,
    Manifest,
    Part,
    Taken,
    Verdict,
    describe,
    without_popularity,
)
from bundle.format.scorer import ITEM_VECTORS, write_exact_search
from bundle.ids import IdMap
from bundle.sorted_sets import unique
from bundle.types import Floats, Mask

BLOCK = 65_536
"""Rows of large, memory-mapped arrays per step: 32 MB with 128 columns."""
INDEX_SAMPLE = 200
"""Users whose vectors serve as queries when the number of visited lists is chosen. With 20 results
each, the standard error of a recall of 0.99 is 0.002."""
CLOCKS_DIFFER = timedelta(minutes=10)
"""Maximum difference between the clocks of two publishers that is corrected for."""


@dataclass(frozen=True)
class EncoderSample:
    """Inputs of the two encoders, and their outputs as computed by torch.

    Attributes:
        features: by modality [S, F_m].
        present: [S, M].
        item_vectors: [S, D], expected output of the item encoder.
        history: [S, H, D] item vectors.
        mask: [S, H].
        weights: [S, H].
        user_vectors: [S, D], expected output of the user encoder.
    """

    features: Mapping[str, Floats]
    present: Mask
    item_vectors: Floats
    history: Floats
    mask: Mask
    weights: Floats
    user_vectors: Floats

    def save(self, path: Path) -> None:
        """Write all arrays to one `.npz` file."""
        arrays: dict[str, Any] = {f"features.{name}": x for name, x in self.features.items()}
        arrays |= {name: x for name, x in vars(self).items() if name != "features"}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "EncoderSample":
        """Inverse of `save`."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            features = {n[9:]: arrays[n] for n in arrays if n.startswith("features.")}
            rest = {n: arrays[n] for n in arrays if not n.startswith("features.")}
        return cls(features=features, **rest)


@dataclass(frozen=True)
class BundleContents:
    """Contents of a new bundle. Large arrays may be memory-mapped files.

    Attributes:
        users, items: external ids in row order.
        user_vectors, item_vectors: [U, D] and [I, D] float32. An all-zero row means "no vector":
            such a user gets popular items, such an item is never similar to another.
        parts: lines and modalities, and the columns of each.
        item_parts: [I, ΣW] float32, contribution of each part to its columns of item_vectors.
        modalities: name → F_m, the inputs of the item encoder.
        seen: users × items, the interactions.
        seen_weights: [nnz] float32, weights of the interactions; None if all are 1.
        item_table: metadata in item_idx order, `item_id` first.
        user_encoder, item_encoder: ONNX models, serialized.
        encoder_sample: inputs and outputs that the encoders must reproduce.
        config, report: JSON objects.
        data_fingerprint, parent_version, taken: see `Manifest`.
        index_budget: bytes that the indexes may have, by which their kind is chosen.
    """

    users: IdMap
    items: IdMap
    user_vectors: Floats
    item_vectors: Floats
    parts: list[Part]
    item_parts: Floats
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
    seen_weights: Floats | None = None
    index_budget: int = BUDGET


def _write_table(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def write_bundle(
    directory: Path, contents: BundleContents, others: Iterable[datetime] = ()
) -> Manifest:
    """Write all files into a directory, the manifest last.

    Args:
        directory: an empty directory.
        contents: the contents of the files.
        others: creation times of the other bundles in the store; the new one gets a later time.

    Returns:
        The manifest. Its `version()` is the name that the directory should get.
    """
    c = contents
    np.save(directory / "user_vectors.npy", c.user_vectors)
    # In C order, which `exact_search.onnx` expects.
    np.save(directory / ITEM_VECTORS, np.ascontiguousarray(c.item_vectors))
    np.save(directory / "item_parts.npy", c.item_parts)
    np.save(directory / "seen_indptr.npy", c.seen.indptr)
    np.save(directory / "seen_indices.npy", c.seen.indices)
    weights = np.ones(c.seen.nnz, np.float32) if c.seen_weights is None else c.seen_weights
    np.save(directory / "seen_weights.npy", weights)
    np.save(directory / "popularity.npy", popularity(c.seen, weights))
    _write_table(pa.table({"user_id": c.users.array}), directory / "users.arrow")
    _write_table(c.item_table, directory / "items.arrow")
    (directory / "user_encoder.onnx").write_bytes(c.user_encoder)
    (directory / "item_encoder.onnx").write_bytes(c.item_encoder)
    c.encoder_sample.save(directory / "encoder_sample.npz")
    (directory / "config.json").write_text(json.dumps(c.config, indent=1))
    (directory / "report.json").write_text(json.dumps(c.report, indent=1))
    for name, ids in (("users", c.users), ("items", c.items)):
        if ids.is_sorted:
            np.save(directory / f"{name}_order.npy", ids.order)
    built = build_indexes(
        c.item_vectors,
        without_popularity(c.parts),
        _sample(c.user_vectors, c.seen),
        c.index_budget,
    )
    save_index(built.index, directory / "items.faiss")
    if built.similar is None:
        write_exact_search(directory)
    else:
        save_index(built.similar, directory / "similar.faiss")
    return _write_manifest(directory, contents, built.info, _creation_time(others))


def popularity(seen: Csr, weights: Floats) -> NDArray[np.int64]:
    """Number of interactions with each item [I], those with weights of 0 and below left out."""
    counts = np.zeros(seen.n_cols, np.int64)
    for start in range(0, seen.nnz, BLOCK):
        block = slice(start, start + BLOCK)
        counts += np.bincount(seen.indices[block][weights[block] > 0], minlength=seen.n_cols)
    return counts


def _sample(user_vectors: Floats, seen: Csr) -> Sample:
    """INDEX_SAMPLE users with a vector that is not zero; half of them have seen the most."""
    first: list[int] = []
    for start in range(0, len(user_vectors), BLOCK):
        block = np.flatnonzero(np.any(user_vectors[start : start + BLOCK], axis=1)) + start
        first += block[: INDEX_SAMPLE - len(first)].tolist()
        if len(first) == INDEX_SAMPLE:
            break
    heavy = np.argsort(-seen.lengths, kind="stable")[:INDEX_SAMPLE]
    heavy = heavy[np.any(user_vectors[heavy], axis=1)]
    users = unique(np.concatenate([first[: INDEX_SAMPLE // 2], heavy[: INDEX_SAMPLE // 2]]))
    users = users.astype(np.int64)
    return Sample(np.asarray(user_vectors[users]), [seen.row(user) for user in users.tolist()])


def seal(directory: Path, manifest: Manifest, verdict: Verdict) -> Manifest:
    """Write the gate's verdict into the manifest of a new bundle; this changes its version."""
    sealed = manifest.model_copy(update={"gate": verdict})
    (directory / MANIFEST).write_bytes(sealed.to_bytes())
    return sealed


def _creation_time(others: Iterable[datetime]) -> datetime:
    """The current time in whole seconds, or one second after the newest of the others.

    Versions sort by this time. So bundles that are made within a second, or by publishers whose
    clocks differ, must keep the order in which they were published. Times further ahead than
    CLOCKS_DIFFER are ignored, or a single wrong clock would falsify the age of all later bundles.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    next_times = (made + timedelta(seconds=1) for made in others if made < now + CLOCKS_DIFFER)
    return max([now, *next_times])


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
