"""Data sets without some items or users, for measurements of cold start."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.ids import IdMap
from training.data.dataset import Dataset, Interactions, Modality, fingerprint
from training.data.split import Split


def without_items(dataset: Dataset, split: Split, kept: NDArray[np.int64]) -> tuple[Dataset, Split]:
    """Data set and split with a part of the items; users stay as they are.

    Args:
        dataset, split: of all items.
        kept: [K] item_idx, ascending; kept[n] becomes item n.
    """
    number = np.full(len(dataset.items), -1, np.int64)
    number[kept] = np.arange(len(kept))
    log = dataset.interactions
    inside = number[log.item_idx] >= 0
    interactions = Interactions(
        user_idx=log.user_idx[inside],
        item_idx=number[log.item_idx[inside]].astype(np.int32),
        timestamp=None if log.timestamp is None else log.timestamp[inside],
        weight=None if log.weight is None else log.weight[inside],
        label=None if log.label is None else log.label[inside],
    )
    items = IdMap([dataset.items[int(i)] for i in kept], "item_id")
    modalities = {n: _rows(m, kept, number) for n, m in dataset.modalities.items()}
    smaller = replace(
        dataset,
        items=items,
        interactions=interactions,
        modalities=modalities,
        item_table=dataset.item_table.take(pa.array(kept)),
        fingerprint=fingerprint(dataset.users, items, interactions, modalities),
    )
    train, valid, test = (columns(part, kept) for part in (split.train, split.valid, split.test))
    return smaller, replace(split, train=train, valid=valid, test=test)


def columns(matrix: Csr, kept: NDArray[np.int64]) -> Csr:
    """Columns [K] of a matrix, renumbered in their order."""
    number = np.full(matrix.n_cols, -1, np.int64)
    number[kept] = np.arange(len(kept))
    rows, cols = matrix.pairs()
    inside = number[cols] >= 0
    return Csr.from_pairs(rows[inside], number[cols[inside]], matrix.n_rows, len(kept))


def without_users(matrix: Csr, gone: NDArray[np.bool_]) -> Csr:
    """The matrix with empty rows for the users of the mask `gone` [U]."""
    rows, cols = matrix.pairs()
    inside = ~gone[rows]
    return Csr.from_pairs(rows[inside], cols[inside], matrix.n_rows, matrix.n_cols)


def _rows(modality: Modality, kept: NDArray[np.int64], number: NDArray[np.int64]) -> Modality:
    smaller = replace(modality, features=modality.features[kept], present=modality.present[kept])
    if modality.neighbour_idx is None or modality.neighbour_cos is None:
        return smaller
    neighbours = modality.neighbour_idx[kept]
    there = (neighbours >= 0) & (number[neighbours] >= 0)
    return replace(
        smaller,
        neighbour_idx=np.where(there, number[neighbours], -1).astype(np.int32),
        neighbour_cos=np.where(there, modality.neighbour_cos[kept], 0).astype(np.float32),
    )
