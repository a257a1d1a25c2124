"""A folder of data as validated arrays, whatever its layout.

`Dataset.read` recognises the layout by the files in the folder and hands over to `reading.mmrec` or
`reading.tables`; from here on nothing knows about files any more.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.ids import IdMap

TRAIN, VALID, TEST = 0, 1, 2
"""Split labels, as in the `x_label` column of the MMRec layout."""


@dataclass(frozen=True)
class Interactions:
    """Implicit feedback in file order, N interactions; a repeated (user, item) pair is kept once.

    Attributes:
        user_idx: [N] int32.
        item_idx: [N] int32.
        timestamp: [N] float64 seconds, None if the data have none.
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
    """Raw features of one modality, or only the neighbours that they led to.

    Attributes:
        features: [I, F_m] float32, rows of absent items are zero.
        present: [I] bool, which items have this modality.
        neighbour_idx: [I, k] int32 precomputed relation graph, None if it is to be computed.
        neighbour_cos: [I, k] float32 cosine of each neighbour, None as above.
    """

    features: NDArray[np.float32]
    present: NDArray[np.bool_]
    neighbour_idx: NDArray[np.int32] | None = None
    neighbour_cos: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Dataset:
    """Interactions and item content under one numbering of users and items.

    Attributes:
        users: the caller's user ids ↔ user_idx.
        items: the caller's item ids ↔ item_idx.
        interactions: who liked what.
        modalities: by name, in alphabetical order.
        item_table: one row an item in item_idx order; column `item_id` first, then whatever
            metadata there are (title, categories, …, image path).
        fingerprint: sha256 hex of ids, interactions, features and neighbours.
        notes: what was tidied up while reading, one sentence each with its count.
    """

    users: IdMap
    items: IdMap
    interactions: Interactions
    modalities: dict[str, Modality]
    item_table: pa.Table
    fingerprint: str
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path, min_weight: float | None = None) -> "Dataset":
        """Read a folder in the MMRec layout (`reading.mmrec`) or of tables (`reading.tables`).

        Args:
            path: the folder.
            min_weight: drop interactions of a lower weight or rating. Items that have no other
                stay, because the catalogue has them; users that have no other do not.

        Raises:
            InputError: something is wrong with the data; one sentence with file, place, column.
        """
        from training.reading.folder import (
            read_folder,  # which makes a Dataset, so it needs this file
        )

        return read_folder(Path(path), min_weight)

    def summary(self) -> str:
        """A few lines for people: sizes, modalities and what was tidied up."""
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
    users: IdMap, items: IdMap, interactions: Interactions, modalities: Mapping[str, Modality]
) -> str:
    """sha256 hex of what training depends on; equal for equal content, whatever the files were."""
    digest = hashlib.sha256()

    def add(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None) -> None:
        if values is None:
            digest.update(f"{name} none;".encode())
            return
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {little.shape};".encode())
        digest.update(little.data)

    for ids in (users, items):
        texts = [external.encode() for external in ids.ids]
        add("ids", np.fromiter(map(len, texts), np.int64, len(texts)))
        digest.update(b"".join(texts))
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
    return digest.hexdigest()
