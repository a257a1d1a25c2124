"""What changed since a bundle was made: new, changed and deleted items.

Shapes as in `bundle.catalogue`.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.encoders import ItemEncoder
from bundle.errors import InputError
from bundle.ids import IdMap
from bundle.loading import Bundle

Rows = NDArray[np.int32]
NO_ITEMS: Rows = np.empty(0, np.int32)


@dataclass(frozen=True)
class ItemChange:
    """A new, changed or deleted item; the newest one of an item counts and replaces the others.

    Attributes:
        item_id: the item.
        deleted: it must not be recommended.
        features: by modality [F_m] float32; its vector is made of them. None keeps the bundle's.
        columns: what filters ask for, by name; the others are null. None keeps the bundle's.
    """

    item_id: str
    deleted: bool = False
    features: Mapping[str, NDArray[np.float32]] | None = None
    columns: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Overlay:
    """What changed since a bundle was made.

    Attributes:
        added: ids of the X items with a vector of their own: new ones, and those of the bundle
            that got new features.
        vectors: [X, D], their vectors.
        hidden: ascending item_idx of the bundle that must not come back: they were deleted, or
            have a row in `vectors`.
        changed: [C] item_idx whose columns are not the bundle's.
        table: their columns, C rows.
        interactions: [X], those of the bundle's items among `added`.
        replaced: [X], the item_idx that those had in the bundle, -1 for new ones.
        deleted: ids of deleted items, whether the bundle has them or not.
    """

    added: IdMap
    vectors: NDArray[np.float32]
    hidden: Rows
    changed: Rows
    table: pa.Table
    interactions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    replaced: Rows = field(default_factory=lambda: NO_ITEMS)
    deleted: frozenset[str] = frozenset()


def encode_item(
    encoder: ItemEncoder, features: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The vector [D] of one item, from the modalities that it has.

    Raises:
        InputError: a modality is unknown, has the wrong width or is not finite; or none is given.
    """
    unknown = sorted(features.keys() - encoder.modalities.keys())
    if unknown:
        raise InputError(f"{unknown[0]}: no such modality; {', '.join(encoder.modalities)}")
    if not features:
        raise InputError("at least one modality is needed")
    for name, values in features.items():
        width = encoder.modalities[name]
        if values.shape != (width,):
            raise InputError(f"{name}: has {len(values)} numbers, expected {width}")
    rows = {
        name: features[name][None] if name in features else np.zeros((1, width), np.float32)
        for name, width in encoder.modalities.items()
    }
    present = np.array([[name in features for name in encoder.modalities]])
    vector: NDArray[np.float32] = encoder.encode(rows, present)[0]
    return vector


def column_values(schema: pa.Schema, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of an item, with values as its table has them.

    Raises:
        InputError: a column is unknown, or its value is not of the column's type.
    """
    values: dict[str, Any] = {}
    for name, value in columns.items():
        if name == "item_id" or name not in schema.names:
            known = ", ".join(column for column in schema.names if column != "item_id")
            raise InputError(f"{name}: no such column; there are {known}")
        kind = schema.field(name).type
        try:
            values[name] = None if value is None else _of_kind(value, kind)
        except (TypeError, ValueError, OverflowError, pa.ArrowException):
            raise InputError(f"{name}: is a column of {kind}, {value!r:.60} does not fit") from None
    return values


def _of_kind(value: Any, kind: pa.DataType) -> Any:
    """What a column of a kind makes of a value; Arrow alone would take 1.5 for a whole number."""
    if isinstance(value, bool) != pa.types.is_boolean(kind):
        raise TypeError
    is_float = pa.types.is_floating(kind)
    if is_float:
        if not isinstance(value, int | float) or not isfinite(value):
            raise TypeError
        value = float(value)
    found = pa.array([value], kind)[0].as_py()
    if not is_float and found != value:
        raise ValueError
    return found


def empty_overlay(bundle: Bundle) -> Overlay:
    """Nothing has changed."""
    return Overlay(
        IdMap([], "item_id"),
        np.empty((0, bundle.manifest.dim), np.float32),
        NO_ITEMS,
        NO_ITEMS,
        bundle.item_table.slice(0, 0),
    )


def build_overlay(
    bundle: Bundle,
    changes: Iterable[ItemChange],
    vectors: Mapping[str, NDArray[np.float32]],
    columns: Mapping[str, Mapping[str, Any]],
) -> Overlay:
    """The overlay that the newest change of each item makes.

    Args:
        bundle: what they change.
        changes: one of each item at most.
        vectors: [D] by item_id, of those that have features that fit.
        columns: by item_id, what `columns_now` says of each.
    """
    added: list[str] = []
    hidden: list[int] = []
    deleted: list[str] = []
    changed: list[int] = []
    rows: list[Mapping[str, Any]] = []
    for change in changes:
        row = bundle.items.get(change.item_id)
        has_vector = change.item_id in vectors and not change.deleted
        if row is not None and (change.deleted or has_vector):
            hidden.append(row)
        if change.deleted:
            deleted.append(change.item_id)
        if change.deleted or (row is None and not has_vector):
            continue
        if has_vector:
            target = len(bundle.items) + len(added)
            added.append(change.item_id)
        else:
            assert row is not None
            target = row
        if change.columns is None and not has_vector:
            continue
        changed.append(target)
        rows.append(columns[change.item_id])
    order = np.argsort(changed, kind="stable")
    positions = bundle.items.rows(added)
    return Overlay(
        added=IdMap(added, "item_id"),
        vectors=np.stack([vectors[item_id] for item_id in added])
        if added
        else np.empty((0, bundle.manifest.dim), np.float32),
        hidden=np.sort(np.array(hidden, np.int32)),
        changed=np.array(changed, np.int32)[order],
        table=pa.Table.from_pylist([rows[n] for n in order.tolist()], bundle.item_table.schema),
        interactions=np.where(positions >= 0, bundle.popularity[positions], 0),
        replaced=positions,
        deleted=frozenset(deleted),
    )


def columns_now(bundle: Bundle, change: ItemChange) -> dict[str, Any]:
    """The row of the item table that a change makes.

    What does not fit this bundle (a column that it does not have) is left out: a change outlives
    bundles.
    """
    row = bundle.items.get(change.item_id)
    found: dict[str, Any] = {}
    if change.columns is not None:
        for name, value in change.columns.items():
            with suppress(InputError):
                found.update(column_values(bundle.item_table.schema, {name: value}))
    elif row is not None:
        found = bundle.item_table.slice(row, 1).to_pylist()[0]
    return {**found, "item_id": change.item_id}
