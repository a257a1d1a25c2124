"""What the two layouts have in common: which files play which part, and how rows are matched."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle.errors import InputError
from training.reading.file import TABLE_SUFFIXES, Source, located
from training.reading.interactions import Columns
from training.reading.items import ItemTable

Matching = Literal["number", "table"]
"""To which item row r of an array belongs that has no `<modality>_items.txt`: to the item whose
id is the number r, or to row r of the items table."""


@dataclass(frozen=True)
class Layout:
    """A folder's files by their part, before anything but the items table is read.

    Attributes:
        log: the file of interactions.
        columns: its columns.
        items: the items table, None if there is none.
        matching: how rows of arrays find their item.
    """

    log: Source
    columns: Columns
    items: ItemTable | None
    matching: Matching


def named(files: Iterable[Path], stem: str) -> list[Path]:
    """The files `stem.parquet`, `stem.csv` and `stem.jsonl` that are there."""
    return [path for path in files if path.stem == stem and path.suffix in TABLE_SUFFIXES]


def the_only(files: list[Path], what: str) -> Path | None:
    """The one file of a sort, None if there is none.

    Raises:
        InputError: there are several.
    """
    if len(files) > 1:
        raise several(files, what)
    return files[0] if files else None


def several(files: list[Path], what: str) -> InputError:
    """An error that says that files exclude each other."""
    return located(files[0].parent.name, f"{what}: {', '.join(path.name for path in files)}")
