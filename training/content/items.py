"""The columns of the items table that content is made from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from bundle.errors import InputError
from bundle.ids import IdMap
from training.reading.columns import ids as checked_ids
from training.reading.file import TABLE_SUFFIXES, Source

ID_COLUMNS = ("item_id", "itemID")


@dataclass(frozen=True)
class ItemContent:
    """I items in file order.

    Attributes:
        ids: item ids ↔ rows.
        texts: [I] the text columns of each item joined by ". ", "" if all are empty.
        images: [I] the path of each item's picture as written, "" if there is none.
    """

    ids: IdMap
    texts: list[str]
    images: list[str]


def read_item_content(
    data: Path, text_columns: Sequence[str], image_column: str | None
) -> ItemContent:
    """Reads `items.parquet`, `items.csv` or `items.jsonl` in `data`.

    Raises:
        InputError: there is none or more than one, it cannot be parsed, a column is missing, an id
            is empty or repeated, or a value is neither text, number nor list of texts.
    """
    names = [f"items{suffix}" for suffix in TABLE_SUFFIXES]
    found = [data / name for name in names if (data / name).is_file()]
    if len(found) != 1:
        what = "none of" if not found else "more than one of"
        raise InputError(f"{data}: has {what} {', '.join(names)}")
    source = Source(found[0])
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
    source: Source, text_columns: Sequence[str], image_column: str | None
) -> tuple[str, dict[str, list[object]]]:
    """Name of the id column, and the values of all wanted columns."""
    header = source.header()
    key = next((name for name in ID_COLUMNS if name in header), ID_COLUMNS[0])
    wanted = [key, *text_columns, *([] if image_column is None else [image_column])]
    for name in wanted:
        if name not in header:
            there = ", ".join(header)
            raise source.error(f"the column is missing (there are: {there})", column=name)
    # As text where the format leaves the choice: "00017" is an id and "1984" a title.
    table = source.read(dict.fromkeys(wanted, pa.string()), only=True)
    columns = {name: table[name].to_pylist() for name in wanted}
    columns[key] = checked_ids(source, table, key).to_pylist()
    return key, columns


def _ids(source: Source, key: str, values: list[object]) -> IdMap:
    ids = [str(value) for value in values]
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        for row, external in enumerate(ids):
            if external in seen:
                raise source.error(f"the id {external!r} occurs twice", row, key)
            seen.add(external)
    return IdMap(ids, key)


def _check_numbering(source: Source, ids: IdMap) -> None:
    """In the MMRec layout itemID is the row of the feature files: the table must agree."""
    for row, external in enumerate(ids.ids):
        if external != str(row):
            what = f"is {external} where {row} is expected: itemID numbers the rows of features"
            raise source.error(what, row, "itemID")


def _text(source: Source, column: str, row: int, value: object) -> str:
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
    raise source.error("neither text, number nor a list of texts", row, column)


def _picture(source: Source, column: str, row: int, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise source.error("not the path of a picture", row, column)
    return value.strip()
