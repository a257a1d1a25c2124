"""The item overlay: new, changed and deleted items since a bundle was made.

Shapes as in `bundle.catalogue.catalogue`.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.catalogue.values import column_of, in_column, is_comparable, stored
from bundle.errors import InputError
from bundle.format.encoders import ItemEncoder
from bundle.format.reader import Bundle
from bundle.ids import IdMap
from bundle.types import NO_ITEMS, Floats, Rows


@dataclass(frozen=True)
class ItemChange:
    """A new, changed or deleted item. The newest change of an item replaces all earlier ones.

    Attributes:
        item_id: external id.
        deleted: the item must not be recommended.
        features: by modality [F_m] float32, from which the vector is computed. None keeps the
            bundle's vector.
        columns: values by column, as JSON has them; columns that are not named become null. None
            keeps the bundle's values.
    """

    item_id: str
    deleted: bool = False
    features: Mapping[str, Floats] | None = None
    columns: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Overlay:
    """Item changes, resolved against one bundle.

    Attributes:
        added: ids of the X items with a vector in the overlay: new ones, and items of the bundle
            with new features.
        vectors: [X, D], the vectors of `added`.
        hidden: item_idx of the bundle that must not be returned, ascending: deleted ones, and those
            with a row in `vectors`.
        changed: [C] item_idx whose columns differ from the bundle's, ascending.
        table: columns of `changed`, C rows.
        interactions: [X], number of interactions of `added` in the bundle, 0 for new items.
        replaced: [X], item_idx of `added` in the bundle, -1 for new items.
        deleted: ids of deleted items, known to the bundle or not.
    """

    added: IdMap
    vectors: Floats
    hidden: Rows
    changed: Rows
    table: pa.Table
    interactions: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    replaced: Rows = field(default_factory=lambda: NO_ITEMS)
    deleted: frozenset[str] = frozenset()


def encode_item(encoder: ItemEncoder, features: Mapping[str, Floats]) -> Floats:
    """Vector [D] of one item, from the modalities that it has.

    Raises:
        InputError: a modality is unknown, has the wrong width or is not finite; or there is none.
    """
    unknown = sorted(features.keys() - encoder.modalities.keys())
    if unknown:
        known = ", ".join(encoder.modalities)
        raise InputError(f"{unknown[0]}: no such modality; the modalities are {known}")
    if not features:
        raise InputError("features of at least one modality are required")
    for name, values in features.items():
        width = encoder.modalities[name]
        if values.shape != (width,):
            raise InputError(f"{name}: has {len(values)} numbers, expected {width}")
    rows = {
        name: features[name][None] if name in features else np.zeros((1, width), np.float32)
        for name, width in encoder.modalities.items()
    }
    present = np.array([[name in features for name in encoder.modalities]])
    vector: Floats = encoder.encode(rows, present)[0]
    return vector


def column_values(schema: pa.Schema, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Values of columns as JSON has them, after the conversion that the item table requires.

    Raises:
        InputError: a column is unknown, or a value does not have the column's type.
    """
    values: dict[str, Any] = {}
    for name, value in columns.items():
        if name == "item_id" or name not in schema.names:
            known = ", ".join(column for column in schema.names if column != "item_id")
            raise InputError(f"{name}: no such column; the columns are {known}")
        kind = schema.field(name).type
        try:
            values[name] = None if value is None else in_column(value, kind)
        except (TypeError, ValueError, OverflowError, pa.ArrowException):
            raise InputError(
                f"{name}: {value!r:.60} does not fit the column's type, {kind}"
            ) from None
    return values


def empty_overlay(bundle: Bundle) -> Overlay:
    """An overlay without changes."""
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
    vectors: Mapping[str, Floats],
    columns: Mapping[str, Mapping[str, Any] | None],
) -> Overlay:
    """The overlay for the newest change of each item.

    Args:
        bundle: the bundle.
        changes: at most one per item.
        vectors: [D] by item_id, for the changes whose features fit the bundle.
        columns: by item_id, the result of `columns_now` for each change.
    """
    added: list[str] = []
    hidden: list[int] = []
    deleted: list[str] = []
    kept: list[int] = []
    kept_rows: list[int] = []
    given: list[int] = []
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
        values = columns[change.item_id]
        if values is None and row is not None:
            kept.append(target)
            kept_rows.append(row)
        else:
            given.append(target)
            rows.append({**(values or {}), "item_id": change.item_id})
    changed = [*kept, *given]
    table = pa.concat_tables(
        [
            bundle.item_table.take(pa.array(kept_rows, pa.int64())),
            _table(rows, bundle.item_table.schema),
        ]
    )
    order = np.argsort(changed, kind="stable")
    positions = bundle.items.rows(added)
    return Overlay(
        added=IdMap(added, "item_id"),
        vectors=np.stack([vectors[item_id] for item_id in added])
        if added
        else np.empty((0, bundle.manifest.dim), np.float32),
        hidden=np.sort(np.array(hidden, np.int32)),
        changed=np.array(changed, np.int32)[order],
        table=table.take(order),
        interactions=np.where(positions >= 0, bundle.popularity[positions], 0),
        replaced=positions,
        deleted=frozenset(deleted),
    )


def columns_now(bundle: Bundle, change: ItemChange) -> dict[str, Any] | None:
    """Columns of an item after a change, as JSON has them; None for those of the bundle.

    Values that do not fit this bundle are left out, such as those of a column that it does not
    have: changes outlive bundles.
    """
    if change.columns is None:
        return None
    found: dict[str, Any] = {}
    for name, value in change.columns.items():
        with suppress(InputError):
            found.update(column_values(bundle.item_table.schema, {name: value}))
    return found


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows of the item table from values as JSON has them; null where there is none."""
    columns = []
    for field_ in schema:
        kind = field_.type
        values = [stored(row.get(field_.name), kind) for row in rows]
        is_null = not is_comparable(kind)
        columns.append(pa.nulls(len(rows), kind) if is_null else column_of(values, kind))
    return pa.Table.from_arrays(columns, schema=schema)
