"""Items of the next bundle: the live bundle's items with all changes applied.

Shapes: I items of the live bundle, J items of the next one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.catalogue.overlay import ItemChange, Overlay, build_overlay, columns_now
from bundle.catalogue.values import json_rows
from bundle.format.encoders import ItemEncoder
from bundle.format.manifest import POPULARITY, Part
from bundle.format.reader import Bundle
from bundle.ids import IdMap
from bundle.sorted_sets import difference
from bundle.types import Floats

BATCH = 1024
"""Items per encoder call."""


@dataclass(frozen=True)
class NextItems:
    """Items of the next bundle.

    Attributes:
        ids: kept items of the live bundle in their order, then new items.
        vectors: [J, D].
        parts: [J, ΣW], see `item_parts.npy`.
        table: metadata, J rows.
        row_of: [I] item_idx in the live bundle → in the next, -1 for removed items.
        has_new_vector: [J] whether the vector differs from the live bundle's.
        new: ids that are not in the live bundle.
        changed: number of new, removed and otherwise different items.
        overlay: the same changes as an overlay of the live bundle, as the service applies them.
        notes: changes that were skipped, one sentence each.
    """

    ids: IdMap
    vectors: Floats
    parts: Floats
    table: pa.Table
    row_of: NDArray[np.int32]
    has_new_vector: NDArray[np.bool_]
    new: frozenset[str]
    changed: int
    overlay: Overlay
    notes: list[str]


def next_items(bundle: Bundle, changes: Iterable[ItemChange]) -> NextItems:
    """Apply item changes; the item encoder computes the vectors of new and changed items."""
    notes: list[str] = []
    newest = {change.item_id: change for change in changes}
    vectors, present = _encode(bundle.item_encoder, newest.values(), notes)
    kept = (change for change in newest.values() if not change.deleted)
    columns = {change.item_id: columns_now(bundle, change) for change in kept}
    overlay = build_overlay(bundle, newest.values(), vectors, columns)
    added = overlay.added.ids
    new = [item for item in added if item not in bundle.items]
    replaced = [item for item in added if item in bundle.items]
    gone = difference(overlay.hidden, bundle.items.rows(replaced))
    stays = np.ones(len(bundle.items), np.bool_)
    stays[gone] = False
    row_of = np.where(stays, np.cumsum(stays) - 1, -1).astype(np.int32)
    ids = IdMap([*bundle.items.take(np.flatnonzero(stays)), *new], "item_id")

    places = ids.rows(added)
    all_vectors, all_parts = (
        np.concatenate([array[stays], np.zeros((len(new), array.shape[1]), np.float32)])
        for array in (bundle.item_vectors, bundle.item_parts)
    )
    all_vectors[places] = overlay.vectors
    for item, place in zip(added, places.tolist(), strict=True):
        all_parts[place] = shared_parts(all_vectors[place], bundle.manifest.parts, present[item])
    has_new_vector = np.zeros(len(ids), np.bool_)
    has_new_vector[places] = True
    return NextItems(
        ids,
        all_vectors,
        all_parts,
        _table(bundle, overlay, ids),
        row_of,
        has_new_vector,
        frozenset(new),
        len(new) + len(gone) + _different(bundle, overlay),
        overlay,
        notes,
    )


def shared_parts(vector: Floats, parts: Sequence[Part], present: Iterable[str]) -> Floats:
    """Contributions [ΣW] of the parts to a vector [D] from the item encoder.

    The encoder does not separate them, so each column is divided equally among the parts that may
    have contributed: the item's modalities, or else all parts that use the column.
    """
    has = {POPULARITY, *present}
    able = np.zeros((len(parts), len(vector)))
    every = np.zeros_like(able)
    for number, part in enumerate(parts):
        every[number, part.start : part.stop] = 1
        able[number, part.start : part.stop] = part.name in has
    share = np.where(able.any(0), able, every)
    share /= np.maximum(share.sum(0), 1)
    blocks = [(share[number] * vector)[part.start : part.stop] for number, part in enumerate(parts)]
    return np.concatenate(blocks).astype(np.float32)


def _encode(
    encoder: ItemEncoder, changes: Iterable[ItemChange], notes: list[str]
) -> tuple[dict[str, Floats], dict[str, list[str]]]:
    """Vectors [D] and modalities by item_id, for changes with valid features."""
    wanted: list[tuple[str, Mapping[str, Floats]]] = []
    for change in changes:
        if not change.features or change.deleted:
            continue
        if all(
            encoder.modalities.get(name) == len(row) and np.isfinite(row).all()
            for name, row in change.features.items()
        ):
            wanted.append((change.item_id, change.features))
        else:
            notes.append(f"item {change.item_id}: its features do not match the bundle's")
    vectors: dict[str, Floats] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        present = np.array([[name in has for name in encoder.modalities] for _, has in batch])
        features = {
            name: np.stack([has.get(name, np.zeros(width, np.float32)) for _, has in batch])
            for name, width in encoder.modalities.items()
        }
        encoded = encoder.encode(features, present)
        vectors |= {item: vector for (item, _), vector in zip(batch, encoded, strict=True)}
    return vectors, {item: list(has) for item, has in wanted}


def _different(bundle: Bundle, overlay: Overlay) -> int:
    """Number of the bundle's items that have another vector or other columns in an overlay."""
    now = [row for row in json_rows(overlay.table) if row["item_id"] in bundle.items]
    places = bundle.items.rows([row["item_id"] for row in now])
    before = json_rows(bundle.item_table.take(pa.array(places)))
    return sum(
        row["item_id"] in overlay.added or without_nan(row) != without_nan(then)
        for row, then in zip(now, before, strict=True)
    )


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with null in place of NaN, which JSON does not have and which equals nothing."""
    return {name: None if value != value else value for name, value in row.items()}


def _table(bundle: Bundle, overlay: Overlay, ids: IdMap) -> pa.Table:
    """Metadata of the next bundle's items, the newest row of each."""
    both = pa.concat_tables([bundle.item_table, overlay.table])
    newest = {item: row for row, item in enumerate(both["item_id"].to_pylist())}
    return both.take(pa.array([newest[item] for item in ids.ids], pa.int64())).combine_chunks()
