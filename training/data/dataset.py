"""Data sets as validated arrays, independent of files and their layout.

`training.data.load.read_dataset` reads one from a folder.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.ids import IdMap

TRAIN, VALID, TEST = 0, 1, 2
"""Split labels, as in the `x_label` column of the MMRec layout."""
LIKED_ABOVE = 0
"""Weights above this are likes, in interactions as in events; the model is trained on likes."""
HASHED = 65_536
"""Number of ids that are hashed at a time: some MB of strings."""


@dataclass(frozen=True)
class Interactions:
    """N interactions (implicit feedback) in file order; each (user, item) pair occurs once.

    Attributes:
        user_idx: [N] int32.
        item_idx: [N] int32.
        timestamp: [N] float64 seconds since 1970, None if the data have none.
        weight: [N] float32, None if the data have none.
        label: [N] int8 split labels TRAIN, VALID, TEST, None if the data have none.
    """

    user_idx: NDArray[np.int32]
    item_idx: NDArray[np.int32]
    timestamp: NDArray[np.float64] | None = None
    weight: NDArray[np.float32] | None = None
    label: NDArray[np.int8] | None = None


@dataclass(frozen=True)
class Modality:
    """One modality: raw features, a precomputed relation graph, or both.

    Attributes:
        features: [I, F_m] float32, zero rows for absent items; F_m = 0 if only a graph is given.
        present: [I] bool; items that have this modality.
        neighbour_idx: [I, k] int32 relation graph, None if it is to be computed.
        neighbour_cos: [I, k] float32 cosines of the neighbours, None likewise.
    """

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    neighbour_idx: NDArray[np.int32] | None = None
    neighbour_cos: NDArray[np.float32] | None = None

    @property
    def has_features(self) -> bool:
        """False if only a graph is given."""
        return bool(self.features.shape[1])


@dataclass(frozen=True)
class Dataset:
    """Interactions and item content with one numbering of users and items.

    Attributes:
        users: external user ids ↔ user_idx.
        items: external item ids ↔ item_idx.
        interactions: the likes: interactions that a model is trained and evaluated on.
        modalities: by name, in alphabetical order.
        item_table: one row per item in item_idx order; column `item_id`, then the metadata (title,
            categories, image path, …).
        fingerprint: sha256 hex of ids, interactions, features and neighbours.
        notes: clean-ups made while reading, one sentence each with a count.
        dislikes: pairs that are no likes, with their weights: histories of the bundle have them, as
            if they were events; None if there are none.
    """

    users: IdMap
    items: IdMap
    interactions: Interactions
    modalities: dict[str, Modality]
    item_table: pa.Table
    fingerprint: str
    notes: list[str] = field(default_factory=list)
    dislikes: Interactions | None = None

    def summary(self) -> str:
        """Human-readable summary: sizes, modalities and notes."""
        log = self.interactions
        sizes = f"{len(self.users):,} users × {len(self.items):,} items"
        lines = [f"{sizes} × {len(log.user_idx):,} interactions"]
        if log.label is not None:
            train, valid, test = np.bincount(log.label, minlength=3).tolist()
            lines[0] += f" (train {train:,} / valid {valid:,} / test {test:,})"
        columns = {"timestamps": log.timestamp, "weights": log.weight}
        given = [name for name, values in columns.items() if values is not None]
        lines.append(f"with {' and '.join(given)}" if given else "without timestamps and weights")
        for name, modality in self.modalities.items():
            width = modality.features.shape[1]
            parts = [f"{width:,} features" if width else "no features"]
            parts.append(f"{modality.present.sum():,} of {len(self.items):,} items have it")
            if modality.neighbour_idx is not None:
                parts.append(f"graph of {modality.neighbour_idx.shape[1]} neighbours")
            lines.append(f"{name}: {', '.join(parts)}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def fingerprint(
    users: IdMap,
    items: IdMap,
    interactions: Interactions,
    modalities: Mapping[str, Modality],
    dislikes: Interactions | None = None,
) -> str:
    """Fingerprint of a data set: sha256 hex of its content, independent of file formats."""
    digest = hashlib.sha256()

    def add(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None) -> None:
        if values is None:
            digest.update(f"{name} none;".encode())
            return
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {little.shape};".encode())
        digest.update(little.data)

    for ids in (users, items):
        add("ids", pc.binary_length(ids.array).to_numpy().astype(np.int64))
        for start in range(0, len(ids), HASHED):
            digest.update("".join(ids.array[start : start + HASHED].to_pylist()).encode())
    add("user_idx", interactions.user_idx)
    add("item_idx", interactions.item_idx)
    add("timestamp", interactions.timestamp)
    add("weight", interactions.weight)
    add("label", interactions.label)
    for name, modality in sorted(modalities.items()):
        digest.update(f"modality {len(name.encode())} {name};".encode())
        add("features", modality.features)
        add("present", modality.present)
        add("neighbour_idx", modality.neighbour_idx)
        add("neighbour_cos", modality.neighbour_cos)
    if dislikes is not None:
        add("disliking user_idx", dislikes.user_idx)
        add("disliked item_idx", dislikes.item_idx)
        add("disliked weight", dislikes.weight)
    return digest.hexdigest()
