"""A folder of data as validated arrays, whatever its layout.

`Dataset.read` recognises the layout by the files in the folder and hands over to `read_mmrec` or
`read_tables`; from here on nothing knows about files any more.
"""

from dataclasses import dataclass, field

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
