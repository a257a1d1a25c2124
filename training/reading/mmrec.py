"""The MMRec layout: one `*.inter` file, features by row number; RecBole's typed header too.

`userID itemID x_label` (optional `timestamp`, `rating`) with tabs between. Where the column is
called `itemID`, row r of an array belongs to the item "r"; where it is called `item_id`, as in
RecBole's atomic files, ids are any text and row r belongs to row r of the items table, or to line r
of `<modality>_items.txt`, one id a line.
"""

from pathlib import Path

from training.reading.file import Source
from training.reading.interactions import Columns
from training.reading.items import read_items
from training.reading.layout import Layout, named, the_only

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
    """The parts of a folder that has a `.inter` file.

    Raises:
        InputError: there are several files for one part, or a column is missing or there twice.
    """
    log = Source(next(path for path in files if path.suffix == ".inter"))
    found: dict[str, str] = {}
    for column in log.header():
        part = _PARTS.get(column.split(":")[0])
        if part is not None and found.setdefault(part, column) != column:
            raise log.error(f"the column {found[part]!r} has the {part} already", column=column)
    for part, name in (("user", "userID"), ("item", "itemID")):
        if part not in found:
            raise log.missing(name)
    columns = Columns(
        found["user"],
        found["item"],
        found.get("timestamp"),
        found.get("weight"),
        found.get("label"),
    )
    table = the_only(named(files, "items"), "more than one items table")
    atomic = [path for path in files if path.suffix == ".item"]
    if table is None:
        table = the_only(atomic, "more than one .item file")
    elif atomic:
        notes.append(f"{atomic[0].name} is not read: {table.name} describes the items")
    items = None if table is None else read_items(Source(table), _KEYS, notes)
    by_number = columns.item.startswith("itemID")
    return Layout(log, columns, items, "number" if by_number else "table")
