"""The items of the next bundle: those of the live one, and what changed since.

Shapes: I items of the live bundle, J of the next one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.encoders import ItemEncoder
from bundle.errors import InputError
from bundle.ids import IdMap
from bundle.loading import Bundle
from bundle.manifest import POPULARITY, Part
from bundle.overlay import ItemChange, Overlay, build_overlay, columns_now
from training.reading.features import read_contents
from training.reading.file import TABLE_SUFFIXES, Source
from training.reading.items import read_items
from training.reading.layout import named, the_only

BATCH = 1024
"""Items that are encoded at a time."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NextItems:
    """The items of the next bundle.

    Attributes:
        ids: the live bundle's that stay, in their order, then new ones.
        vectors: [J, D].
        parts: [J, ΣW], see `item_parts.npy`.
        table: their columns, J rows.
        row_of: [I] item_idx of the live bundle → of the next, -1 for items that are gone.
        has_new_vector: [J] whether the vector is not the live bundle's.
        new: ids that the live bundle does not have.
        overlay: the same changes as the service makes of them.
        notes: what was left out, a sentence each.
    """

    ids: IdMap
    vectors: Floats
    parts: Floats
    table: pa.Table
    row_of: NDArray[np.int32]
    has_new_vector: NDArray[np.bool_]
    new: frozenset[str]
    overlay: Overlay
    notes: list[str]


def next_items(bundle: Bundle, changes: Iterable[ItemChange]) -> NextItems:
    """Make the next bundle's items; vectors of new and changed ones are the item encoder's."""
    notes: list[str] = []
    newest = {change.item_id: change for change in changes}
    vectors, present = _encode(bundle.item_encoder, newest.values(), notes)
    kept = (change for change in newest.values() if not change.deleted)
    columns = {change.item_id: columns_now(bundle, change) for change in kept}
    overlay = build_overlay(bundle, newest.values(), vectors, columns)
    added = overlay.added.ids
    new = [item for item in added if item not in bundle.items]
    replaced = [item for item in added if item in bundle.items]
    gone = np.setdiff1d(overlay.hidden, bundle.items.rows(replaced))
    stays = np.ones(len(bundle.items), np.bool_)
    stays[gone] = False
    row_of = np.where(stays, np.cumsum(stays) - 1, -1).astype(np.int32)
    ids = IdMap([*(bundle.items[row] for row in np.flatnonzero(stays).tolist()), *new], "item_id")

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
        overlay,
        notes,
    )


def shared_parts(vector: Floats, parts: Sequence[Part], present: Iterable[str]) -> Floats:
    """What each part adds to a vector [D] that the item encoder made: [ΣW].

    The encoder does not say what came from where: each column is shared evenly by those parts that
    can have added to it: the modalities that the item has, and else all that use the column.
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


def read_changes(path: Path, bundle: Bundle, deleted: frozenset[str]) -> list[ItemChange]:
    """Changes from files: a table of items, or a folder with `items.*` and `<modality>_feat.*`.

    Columns of the table replace those of the items. Features make new items; an item that the
    bundle has keeps its vector. Items that are not in the table stay as they are.

    Args:
        path: the table or the folder, laid out as the data for a fit.
        bundle: what it changes.
        deleted: items that somebody deleted in the service; they stay so.

    Raises:
        InputError: something is wrong with a file; names it.
    """
    notes: list[str] = []
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = the_only(named(files, "items"), "more than one items table") if path.is_dir() else path
    if found is None or found.suffix not in TABLE_SUFFIXES or not found.is_file():
        raise InputError(f"{path}: there is no items table (.parquet, .csv or .jsonl)")
    items = read_items(Source(found), ("item_id",), notes)
    features: dict[str, dict[str, Floats]] = {}
    for content in read_contents(files, notes) if path.is_dir() else []:
        if content.features is None or content.modality not in bundle.manifest.modalities:
            continue
        width = bundle.manifest.modalities[content.modality]
        if content.features.shape[1] != width:
            found_width = content.features.shape[1]
            raise InputError(f"{content.file}: {found_width} features, the bundle has {width}")
        rows_of = items.ids if content.ids is None else content.ids
        if len(rows_of) != content.n_rows:
            raise InputError(f"{content.file}: {content.n_rows} rows, {len(rows_of)} items")
        for item, row in zip(rows_of, content.features, strict=True):
            if item not in bundle.items and row.any():
                features.setdefault(item, {})[content.modality] = row
    names = [name for name in bundle.item_table.schema.names if name in items.table.schema.names]
    return [
        ItemChange(
            row["item_id"],
            features=features.get(row["item_id"]),
            columns={name: value for name, value in row.items() if name != "item_id"},
        )
        for row in items.table.select(names).to_pylist()
        if row["item_id"] not in deleted
    ]


def _encode(
    encoder: ItemEncoder, changes: Iterable[ItemChange], notes: list[str]
) -> tuple[dict[str, Floats], dict[str, list[str]]]:
    """Vectors [D] and modalities by item_id, of those that have features that fit."""
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
            notes.append(f"item {change.item_id}: its features are not those of this bundle")
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


def _table(bundle: Bundle, overlay: Overlay, ids: IdMap) -> pa.Table:
    """The columns of the next bundle's items: the newest that are known of each."""
    both = pa.concat_tables([bundle.item_table, overlay.table])
    newest = {item: row for row, item in enumerate(both["item_id"].to_pylist())}
    return both.take(pa.array([newest[item] for item in ids.ids], pa.int64())).combine_chunks()
