"""MMRec layout: one `*.inter` file and feature arrays by row number; also RecBole's typed headers.

The log is tab-separated with columns `userID itemID x_label` and optionally `timestamp` and
`rating`. If the item column is called `itemID`, row r of an array belongs to the item "r". If it is
called `item_id`, as in RecBole's atomic files, ids are arbitrary, and row r belongs to row r of the
items table or to line r of `<modality>_items.txt`.
"""

from pathlib import Path

from training.data.readers.interactions import LogColumns
from training.data.readers.items import read_items
from training.data.readers.layout import Layout, at_most_one, tables_named
from training.data.readers.table_file import TableFile

_PARTS = {
    "userID": "user",
    "user_id": "user",
    "itemID": "item",
    "item_id": "item",
    "timestamp": "timestamp",
    "rating": "weight",
    "x_label": "label",
}
_KEYS = ("itemID", "item_id", "item_id:token", "itemID:token")


def mmrec_layout(files: list[Path], notes: list[str]) -> Layout:
    """Layout of a folder with a `.inter` file.

    Raises:
        InputError: a role has several files, or a column is missing or occurs twice.
    """
    log = TableFile(next(path for path in files if path.suffix == ".inter"))
    found: dict[str, str] = {}
    for column in log.header():
        part = _PARTS.get(column.split(":")[0])
        if part is not None and found.setdefault(part, column) != column:
            raise log.error(f"column {found[part]!r} already has the {part}", column=column)
    for part, name in (("user", "userID"), ("item", "itemID")):
        if part not in found:
            raise log.missing(name)
    columns = LogColumns(
        found["user"],
        found["item"],
        found.get("timestamp"),
        found.get("weight"),
        found.get("label"),
    )
    table = at_most_one(tables_named(files, "items"), "several items tables")
    atomic = [path for path in files if path.suffix == ".item"]
    if table is None:
        table = at_most_one(atomic, "several .item files")
    elif atomic:
        notes.append(f"{atomic[0].name} is not read: {table.name} describes the items")
    items = None if table is None else read_items(TableFile(table), _KEYS, notes)
    by_number = columns.item.startswith("itemID")
    return Layout(log, columns, items, "number" if by_number else "table")
