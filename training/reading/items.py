"""What is known of the items beside their features: title, categories, any column to filter by."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from training.reading.columns import distinct_ids, ids, is_list, plain
from training.reading.file import Source

TEXT_COLUMNS = ("title", "text", "description", "image", "image_path", "categories")
"""Columns that stay text even where every value looks like a number."""

_ATOMIC = {"token": pa.string(), "token_seq": pa.string(), "float_seq": pa.string()}
_ATOMIC |= {"float": pa.float64()}


@dataclass(frozen=True)
class ItemTable:
    """Metadata in file order.

    Attributes:
        source: the file, for messages.
        key: name of its id column.
        ids: item ids in file order, distinct.
        table: the same rows; column `item_id` first.
    """

    source: Source
    key: str
    ids: list[str]
    table: pa.Table

    def ordered(self, item_ids: list[str]) -> pa.Table:
        """One row for each of `item_ids`, all null but the id where the file has none."""
        rows = pc.index_in(pa.array(item_ids, pa.string()), value_set=pa.array(self.ids))
        return self.table.take(rows).set_column(0, "item_id", [pa.array(item_ids, pa.string())])


def read_items(source: Source, keys: tuple[str, ...], notes: list[str]) -> ItemTable:
    """Read a table of items.

    Lists become `list<string>` (numbers in them are kept when fractional), columns of objects are
    left out. In a RecBole `.item` file the suffix says the type; a `token_seq` is split at spaces,
    except for a title, which is one text.

    Args:
        source: the file.
        keys: names that the id column may have, exactly one of which is there.
        notes: gets a sentence on columns left out.

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
    types = {name: pa.string() for name in (key, *TEXT_COLUMNS)}
    if source.kind == "tsv":
        types |= {name: _ATOMIC.get(_suffix(name), pa.string()) for name in header}
    table = source.read(types)

    values = ids(source, table, key)
    item_ids = distinct_ids(source, values, key)
    columns_kept = {"item_id": values}
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
        notes.append(f"{source.name}: columns left out, no plain values: {', '.join(dropped)}")
    return ItemTable(source, key, item_ids, pa.table(columns_kept))


def _suffix(name: str) -> str:
    return name.rpartition(":")[2]


def _tidy(column: pa.ChunkedArray, name: str, suffix: str) -> pa.ChunkedArray | None:
    """A column with one of the common types, None if it has none."""
    kind = plain(column.type)
    if suffix in ("token_seq", "float_seq") and not name.endswith("title"):
        parts = pc.split_pattern(column, " ")
        return parts if suffix == "token_seq" else parts.cast(pa.list_(pa.float64()))
    if is_list(kind) and pa.types.is_integer(kind.value_type):
        kind = pa.list_(pa.string())
    inner = kind.value_type if is_list(kind) else kind
    if pa.types.is_nested(inner) or pa.types.is_binary(inner):
        return None
    if name in TEXT_COLUMNS and not is_list(kind):
        kind = pa.string()
    return column.cast(kind)
