"""Reader of item content: the text and picture columns of the items table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bundle.errors import InputError
from bundle.ids import IdMap
from training.data.readers.columns import ids as checked_ids
from training.data.readers.table_file import TABLE_SUFFIXES, TableFile

ID_COLUMNS = ("item_id", "itemID")


@dataclass(frozen=True)
class ItemContent:
    """Content of I items in file order.

    Attributes:
        ids: item ids ↔ rows.
        texts: [I] text columns of each item, joined by ". "; "" if all are empty.
        images: [I] path of each item's picture as in the table, "" if there is none.
    """

    ids: IdMap
    texts: list[str]
    images: list[str]


def read_item_content(
    data: Path, text_columns: Sequence[str], image_column: str | None
) -> ItemContent:
    """Read `items.parquet`, `items.csv` or `items.jsonl` of a data folder.

    Args:
        data: the folder.
        text_columns: columns with text, numbers or lists of texts.
        image_column: column with paths of pictures; None for none.

    Raises:
        InputError: there is not exactly one such file, it cannot be parsed, a column is missing, an
            id is empty or repeated, or a value has another type.
    """
    names = [f"items{suffix}" for suffix in TABLE_SUFFIXES]
    found = [data / name for name in names if (data / name).is_file()]
    if len(found) != 1:
        what = "none of" if not found else "several of"
        raise InputError(f"{data}: has {what} {', '.join(names)}")
    source = TableFile(found[0])
    key, columns = _read(source, text_columns, image_column)
    ids = _ids(source, key, columns[key])
    if key == "itemID" and any(data.glob("*.inter")):
        _check_numbering(source, ids)
    parts = [
        [_text(source, name, row, value) for row, value in enumerate(columns[name])]
        for name in text_columns
    ]
    texts = [". ".join(filter(None, item)) for item in zip(*parts, strict=True)]
    images = (
        [""] * len(ids)
        if image_column is None
        else [
            _picture(source, image_column, row, value)
            for row, value in enumerate(columns[image_column])
        ]
    )
    return ItemContent(ids, texts or [""] * len(ids), images)


def _read(
    source: TableFile, text_columns: Sequence[str], image_column: str | None
) -> tuple[str, dict[str, list[object]]]:
    """Name of the id column, and the values of the requested columns."""
    header = source.header()
    key = next((name for name in ID_COLUMNS if name in header), ID_COLUMNS[0])
    wanted = [key, *text_columns, *([] if image_column is None else [image_column])]
    for name in wanted:
        if name not in header:
            raise source.missing(name)
    # Text formats are read as text: "00017" is an id and "1984" a title.
    table = source.read(dict.fromkeys(wanted, pa.string()), only=True)
    columns = {name: table[name].to_pylist() for name in wanted}
    columns[key] = checked_ids(source, table, key).to_pylist()
    return key, columns


def _ids(source: TableFile, key: str, values: list[object]) -> IdMap:
    ids = [str(value) for value in values]
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        for row, external in enumerate(ids):
            if external in seen:
                raise source.error(f"the id {external!r} occurs twice", row, key)
            seen.add(external)
    return IdMap(ids, key)


def _check_numbering(source: TableFile, ids: IdMap) -> None:
    """Refuse a table in another order than itemID, the row of feature files in the MMRec layout."""
    for row, external in enumerate(ids.ids):
        if external != str(row):
            what = f"is {external}, expected {row}: itemID must number the rows of features"
            raise source.error(what, row, "itemID")


def _text(source: TableFile, column: str, row: int, value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value.strip()
        case int() if not isinstance(value, bool):
            return str(value)
        case float():
            return "" if math.isnan(value) else f"{value:g}"
        case list() if all(isinstance(part, str) for part in value):
            return ", ".join(part.strip() for part in value if part.strip())
    raise source.error("is not a text, a number or a list of texts", row, column)


def _picture(source: TableFile, column: str, row: int, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise source.error("is not the path of a picture", row, column)
    return value.strip()
