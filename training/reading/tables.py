"""The layout of tables: `interactions.*` and `items.*`, each Parquet, CSV or JSON lines.

`interactions` has `user_id` and `item_id`, optional `timestamp`, `weight` and `split`; `items` has
`item_id` and whatever else is known. Row r of an array belongs to row r of the items table.
"""

from pathlib import Path

from training.reading.file import Source
from training.reading.interactions import Columns
from training.reading.items import read_items
from training.reading.layout import Layout, named, the_only


def tables_layout(files: list[Path], notes: list[str]) -> Layout:
    """The parts of a folder that has an `interactions` file.

    Raises:
        InputError: there are several files for one part, or a column is missing.
    """
    log = Source(named(files, "interactions")[0])
    header = log.header()
    for name in ("user_id", "item_id"):
        if name not in header:
            raise log.missing(name)
    optional = [name if name in header else None for name in ("timestamp", "weight", "split")]
    table = the_only(named(files, "items"), "more than one items table")
    items = None if table is None else read_items(Source(table), ("item_id",), notes)
    return Layout(log, Columns("user_id", "item_id", *optional), items, "table")
