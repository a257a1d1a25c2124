"""Layout of tables: `interactions.*` and `items.*`, each Parquet, CSV or JSON lines.

`interactions` has `user_id` and `item_id`, optionally `timestamp`, `weight` and `split`; `items`
has `item_id` and any metadata. Row r of an array belongs to row r of the items table.
"""

from pathlib import Path

from training.data.readers.interactions import LogColumns
from training.data.readers.items import read_items
from training.data.readers.layout import Layout, at_most_one, tables_named
from training.data.readers.table_file import TableFile


def tables_layout(files: list[Path], notes: list[str]) -> Layout:
    """Layout of a folder with an `interactions` file.

    Raises:
        InputError: a role has several files, or a column is missing.
    """
    log = TableFile(tables_named(files, "interactions")[0])
    header = log.header()
    for name in ("user_id", "item_id"):
        if name not in header:
            raise log.missing(name)
    optional = [name if name in header else None for name in ("timestamp", "weight", "split")]
    table = at_most_one(tables_named(files, "items"), "several items tables")
    items = None if table is None else read_items(TableFile(table), ("item_id",), notes)
    return Layout(log, LogColumns("user_id", "item_id", *optional), items, "table")
