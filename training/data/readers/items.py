"""Reader of item metadata: titles, categories and any other column of the items table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from bundle.catalogue.values import is_comparable
from bundle.format.item_table import is_list, plain
from training.data.readers.columns import distinct_ids
from training.data.readers.table_file import TableFile

TEXT_COLUMNS = ("title", "text", "description", "image", "image_path", "categories")
"""Columns that stay text even if every value looks like a number."""

_ATOMIC = {"token": pa.string(), "token_seq": pa.string(), "float_seq": pa.string()}
_ATOMIC |= {"float": pa.float64()}


@dataclass(frozen=True)
class ItemTable:
    """Item metadata in file order.

    Attributes:
        source: the file, for error messages.
        key: name of the id column.
        ids: distinct item ids, [R].
        table: the same rows; column `item_id` first.
    """

    source: TableFile
    key: str
    ids: pa.StringArray
    table: pa.Table

    def ordered(self, item_ids: pa.StringArray) -> pa.Table:
        """One row per item of `item_ids`; null metadata for items that the file does not have."""
        rows = pc.index_in(item_ids, value_set=self.ids)
        return self.table.take(rows).set_column(0, "item_id", item_ids)


def read_items(
    source: TableFile,
    keys: tuple[str, ...],
    notes: list[str],
    expected: Mapping[str, pa.DataType] = MappingProxyType({}),
) -> ItemTable:
    """Read an items table.

    Lists of integers or text become `list<string>`, lists of fractions stay numbers, and columns
    that no filter could compare (nested ones, bytes) are dropped. In a RecBole `.item` file,
    suffixes of column names define the types; a `token_seq` is split at spaces, except for titles.

    Args:
        source: the file.
        keys: possible names of the id column; exactly one must be present.
        notes: gets a sentence about dropped columns.
        expected: types of columns in text files, string or float64, that are not guessed.

    Raises:
        InputError: the id column is missing or ambiguous, or an id is empty or repeated.
    """
    header = source.header()
    found = [name for name in header if name in keys]
    if not found:
        raise source.missing(keys[0])
    if len(found) > 1:
        raise source.error(f"both {' and '.join(map(repr, found))} could be the item id")
    key = found[0]
    types = {**expected, **{name: pa.string() for name in (key, *TEXT_COLUMNS)}}
    if source.kind == "tsv":
        types |= {name: _ATOMIC.get(_suffix(name), pa.string()) for name in header}
    table = source.read(types)

    item_ids = distinct_ids(source, table, key)
    columns_kept = {"item_id": item_ids}
    dropped = []
    for name in table.column_names:
        if name == key:
            continue
        title = name.split(":")[0] if source.kind == "tsv" else name
        column = _tidy(table[name], title, _suffix(name) if source.kind == "tsv" else "")
        if column is None or title in columns_kept:
            dropped.append(name)
        else:
            columns_kept[title] = column
    if dropped:
        notes.append(f"{source.name}: columns dropped, unsupported type: {', '.join(dropped)}")
    return ItemTable(source, key, item_ids, pa.table(columns_kept))


def _suffix(name: str) -> str:
    return name.rpartition(":")[2]


def _tidy(column: pa.ChunkedArray, name: str, suffix: str) -> pa.ChunkedArray | None:
    """The column with a supported type, None if its type is not supported."""
    kind = plain(column.type)
    if suffix in ("token_seq", "float_seq") and not name.endswith("title"):
        parts = pc.split_pattern(column, " ")
        return parts if suffix == "token_seq" else parts.cast(pa.list_(pa.float64()))
    if is_list(kind) and pa.types.is_integer(kind.value_type):
        kind = pa.list_(pa.string())
    if not is_comparable(kind):
        return None
    if name in TEXT_COLUMNS and not is_list(kind):
        kind = pa.string()
    return column.cast(kind)
