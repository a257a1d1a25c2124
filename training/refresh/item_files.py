"""Item changes from files: a table of items, and features of those that the bundle lacks.

The values follow the rules of `PUT /items/{item_id}`: one that does not fit its column is refused.
Other than there, columns that the table does not have keep their values.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from bundle.catalogue.overlay import ItemChange, column_values
from bundle.catalogue.values import json_rows
from bundle.errors import InputError
from bundle.format.reader import Bundle
from bundle.types import Floats
from training.data.readers.features import read_modality_files
from training.data.readers.items import ItemTable, read_items
from training.data.readers.layout import at_most_one, tables_named
from training.data.readers.table_file import TABLE_SUFFIXES, TableFile
from training.refresh.changes import ServiceChanges
from training.refresh.items import without_nan

NAMED = 5
"""Number of ids that a note names; the others are counted."""


def changes_from_files(
    path: Path, bundle: Bundle, known: ServiceChanges, notes: list[str]
) -> list[ItemChange]:
    """Item changes from an items table, or a folder with `items.*` and `<modality>_feat.*`.

    Items with features that are not in the bundle become new items; items in the bundle keep their
    vectors. Items that are not in the table do not change, and neither do those that the service
    deleted, or has changed since the live bundle was made.

    Args:
        path: table or folder, in the layout of data for a fit.
        bundle: the live bundle.
        known: changes recorded by the service.
        notes: gets a sentence about each thing that is not used, with its count.

    Raises:
        InputError: a file is invalid, a value does not fit its column, or no item of the table is
            or becomes one of the bundle's; the message names file, line and column.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = (
        at_most_one(tables_named(files, "items"), "more than one items table")
        if path.is_dir()
        else path
    )
    if found is None or found.suffix not in TABLE_SUFFIXES or not found.is_file():
        raise InputError(f"{path}: no items table found (.parquet, .csv or .jsonl)")
    schema = bundle.item_table.schema
    items = read_items(TableFile(found), ("item_id",), notes, _types(schema))
    columns = [name for name in items.table.schema.names if name != "item_id"]
    others = [name for name in columns if name not in schema.names]
    if others:
        notes.append(f"{found.name}: columns that the bundle does not have: {', '.join(others)}")
    columns = [name for name in columns if name in schema.names]
    features = _features(files if path.is_dir() else [], items, bundle, notes)

    ids = items.ids.to_pylist()
    usable = [item for item in ids if item in bundle.items or item in features]
    if not usable:
        raise InputError(
            f"{found.name}: none of its {len(ids):,} items is in the bundle"
            f" (whose first is {bundle.items[0]!r}) or has features of it"
        )
    newer = known.deleted | {change.item_id for change in known.changes}
    without = set(ids) - set(usable)
    _note(notes, f"{found.name}: new items without features are not added", without)
    _note(notes, f"{found.name}: the service's changes count instead", newer & set(usable))

    values = {name: _values(items, name, schema) for name in columns}
    kept = _rows(bundle, usable, [n for n in schema.names if n not in ("item_id", *values)])
    row_of = {item: row for row, item in enumerate(ids)}
    return [
        ItemChange(
            item,
            features=features.get(item),
            columns=kept.get(item, {}) | {n: v[row_of[item]] for n, v in values.items()},
        )
        for item in usable
        if item not in newer
    ]


def _types(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Types in which a text file has to have the bundle's columns, where readers could guess."""
    kinds = {field.name: field.type for field in schema if field.name != "item_id"}
    texts = {name: pa.string() for name, kind in kinds.items() if pa.types.is_string(kind)}
    return texts | {n: pa.float64() for n, kind in kinds.items() if pa.types.is_floating(kind)}


def _features(
    files: list[Path], items: ItemTable, bundle: Bundle, notes: list[str]
) -> dict[str, dict[str, Floats]]:
    """Features by item_id and modality of the items that are not in the bundle."""
    found: dict[str, dict[str, Floats]] = {}
    listed = set(items.ids.to_pylist())
    known: set[str] = set()
    for content in read_modality_files(files, notes):
        width = bundle.manifest.modalities.get(content.modality)
        if content.features is None or width is None:
            notes.append(f"{content.file} is not used: the bundle has no such features")
            continue
        if content.features.shape[1] != width:
            found_width = content.features.shape[1]
            raise InputError(f"{content.file}: {found_width} features, expected {width}")
        rows_of = (items.ids if content.ids is None else content.ids).to_pylist()
        if len(rows_of) != content.n_rows:
            raise InputError(f"{content.file}: {content.n_rows} rows, {len(rows_of)} items")
        others = set(rows_of) - listed
        _note(notes, f"{content.file}: not used, because not in {items.source.name}", others)
        for item, row in zip(rows_of, content.features, strict=True):
            if item in bundle.items:
                known.add(item)
            elif item in listed and row.any():
                found.setdefault(item, {})[content.modality] = row
    _note(notes, "items of the bundle keep their vectors, their features are not used", known)
    return found


def _values(items: ItemTable, name: str, schema: pa.Schema) -> list[Any]:
    """Values of a column, as the bundle's item table stores them."""
    kind = schema.field(name).type
    given = [without_nan(row)[name] for row in json_rows(items.table.select([name]))]
    if pa.types.is_decimal(items.table[name].type) and not pa.types.is_decimal(kind):
        given = [None if value is None else _number(Decimal(value)) for value in given]
    found: list[Any] = []
    wrong: dict[int, str] = {}
    for row, value in enumerate(given):
        try:
            found.append(column_values(schema, {name: value})[name])
        except InputError as error:
            wrong[row] = str(error).removeprefix(f"{name}: ")
    if wrong:
        # One text makes a column of a CSV one of texts: it is to blame, not the first number.
        culprits = (row for row in wrong if not _is_text_of(given[row], kind))
        row = next(culprits, next(iter(wrong)))
        raise items.source.error(wrong[row], row, name)
    return found


def _number(value: Decimal) -> int | float:
    """A decimal as the number that JSON would have."""
    return float(value) if value % 1 else int(value)


def _is_text_of(value: Any, kind: pa.DataType) -> bool:
    """True if a value is the text of one of this type, e.g. '501' of an integer."""
    try:
        return isinstance(value, str) and pa.scalar(value).cast(kind).is_valid
    except (pa.ArrowException, NotImplementedError):
        return False


def _rows(bundle: Bundle, items: Sequence[str], columns: list[str]) -> dict[str, dict[str, Any]]:
    """The bundle's values of some columns, by item_id, of those items that it has."""
    if not columns:
        return {}
    mine = [item for item in items if item in bundle.items]
    rows = bundle.item_table.select(columns).take(pa.array(bundle.items.rows(mine)))
    return dict(zip(mine, map(without_nan, json_rows(rows)), strict=True))


def _note(notes: list[str], what: str, items: Iterable[str]) -> None:
    found = sorted(items)
    if found:
        more = ", …" if len(found) > NAMED else ""
        notes.append(f"{what}: {len(found):,} ({', '.join(found[:NAMED])}{more})")
