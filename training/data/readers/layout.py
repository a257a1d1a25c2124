"""Layouts of data folders: which file has which role, and how array rows are matched to items."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle.errors import InputError
from training.data.readers.interactions import LogColumns
from training.data.readers.items import ItemTable
from training.data.readers.table_file import TABLE_SUFFIXES, TableFile, file_error

Matching = Literal["number", "table"]
"""Matching of array rows without `<modality>_items.txt`: row r belongs to the item with the id r
(number), or to row r of the items table (table)."""


@dataclass(frozen=True)
class Layout:
    """Files of a folder by role; only the items table has been read.

    Attributes:
        log: the interaction log.
        columns: its columns.
        items: the items table, None if there is none.
        matching: how array rows are matched to items.
    """

    log: TableFile
    columns: LogColumns
    items: ItemTable | None
    matching: Matching


def tables_named(files: Iterable[Path], stem: str) -> list[Path]:
    """Files that are called `stem.parquet`, `stem.csv` or `stem.jsonl`."""
    return [path for path in files if path.stem == stem and path.suffix in TABLE_SUFFIXES]


def at_most_one(files: list[Path], what: str) -> Path | None:
    """The only file, None if there is none.

    Raises:
        InputError: there are conflicting_files.
    """
    if len(files) > 1:
        raise conflicting_files(files, what)
    return files[0] if files else None


def conflicting_files(files: list[Path], what: str) -> InputError:
    """Error for files that must not occur together."""
    return file_error(files[0].parent.name, f"{what}: {', '.join(path.name for path in files)}")
