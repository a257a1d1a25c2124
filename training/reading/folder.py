"""A folder to a `Dataset`: recognises the layout and brings all files under one numbering."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.ids import IdMap
from training.dataset import Dataset, Modality, fingerprint
from training.reading.features import Content, place, read_contents
from training.reading.interactions import Log, blind_spots, read_log, renumbered
from training.reading.layout import Layout, named, several
from training.reading.mmrec import mmrec_layout
from training.reading.tables import tables_layout

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def read_folder(folder: Path, min_weight: float | None = None) -> Dataset:
    """See `Dataset.read`."""
    notes: list[str] = []
    files = _files(folder)
    layout = _layout(folder, files, notes)
    log = read_log(layout.log, layout.columns, min_weight, notes)
    contents = read_contents(files, notes)
    item_ids = _item_ids(layout, log, contents)

    users = IdMap(_sorted_if_numbers(log.user_ids), "user_id")
    items = IdMap(item_ids, "item_id")
    interactions = renumbered(log, users.rows(log.user_ids), items.rows(log.item_ids))
    modalities = _modalities(contents, items)
    if layout.items is None:
        item_table = pa.table({"item_id": pa.array(item_ids, pa.string())})
    else:
        item_table = layout.items.ordered(item_ids)
        if extra := len(items) - len(layout.items.ids):
            notes.append(f"items without a row in {layout.items.source.name}: {extra:,}")
    notes += blind_spots(interactions, len(users), len(items))
    for name, modality in modalities.items():
        if absent := int((~modality.present).sum()):
            notes.append(f"items without {name}: {absent:,} of {len(items):,}")
    digest = fingerprint(users, items, interactions, modalities)
    return Dataset(users, items, interactions, modalities, item_table, digest, notes)


def _files(folder: Path) -> list[Path]:
    """Everything in the folder that is not hidden, by name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _layout(folder: Path, files: list[Path], notes: list[str]) -> Layout:
    logs = [path for path in files if path.suffix == ".inter"]
    tables = named(files, "interactions")
    if not logs and not tables:
        raise InputError(f"{folder}: neither a .inter file nor interactions.parquet|csv|jsonl")
    if logs and tables:
        raise several(logs + tables, "both layouts at once")
    if len(logs + tables) > 1:
        raise several(logs + tables, "more than one file of interactions")
    return mmrec_layout(files, notes) if logs else tables_layout(files, notes)


def _item_ids(layout: Layout, log: Log, contents: list[Content]) -> list[str]:
    """All items in their final order.

    Numbered items go by number: 0…R-1 where arrays have R rows. Others go as the items table has
    them, then by first interaction, then, if there is no table, as files of features name them.
    """
    table = layout.items
    by_position = [c for c in contents if c.ids is None]
    _check_rows(layout, by_position)
    known = dict.fromkeys([*(table.ids if table else ()), *log.item_ids])
    if layout.matching == "number" and by_position:
        n = by_position[0].n_rows
        known = dict.fromkeys(map(str, range(n)))
        what = f"item {{!r}} has no row in {by_position[0].file}, which has rows 0 to {n - 1}"
        for row, item in zip(log.item_rows.tolist(), log.item_ids, strict=True):
            if item not in known:
                raise log.source.error(what.format(item), row, log.columns.item)
        for row, item in enumerate(table.ids if table else ()):
            if table and item not in known:
                raise table.source.error(what.format(item), row, table.key)
    closed = table is not None or (layout.matching == "number" and bool(by_position))
    for content in contents:
        for row, item in enumerate(content.ids or ()):
            if closed and item not in known:
                raise content.error(f"unknown item {item!r}", row)
            known.setdefault(item)
    return _sorted_if_numbers(list(known)) if layout.matching == "number" else list(known)


def _check_rows(layout: Layout, by_position: list[Content]) -> None:
    """Arrays whose rows have no ids must have the right number of them."""
    for content in by_position:
        if layout.matching == "number":
            other, n = by_position[0].file, by_position[0].n_rows
        elif layout.items is not None:
            other, n = layout.items.source.name, len(layout.items.ids)
        else:
            raise InputError(
                f"{content.file}: an items table or {content.modality}_items.txt (one id a line)"
                " must say which items its rows are"
            )
        if content.n_rows != n:
            raise InputError(f"{content.file}: {content.n_rows:,} rows, but {other} has {n:,}")


def _sorted_if_numbers(ids: list[str]) -> list[str]:
    """By number if all are written as plain whole numbers, else as they are."""
    return sorted(ids, key=int) if all(map(_NUMBER.fullmatch, ids)) else ids


def _modalities(contents: list[Content], items: IdMap) -> dict[str, Modality]:
    def rows(content: Content) -> NDArray[np.int32]:
        # Without ids it is row r for item r, in both layouts: numbers are in order, and so is the
        # items table.
        return (
            np.arange(content.n_rows, dtype=np.int32)
            if content.ids is None
            else items.rows(content.ids)
        )

    names = sorted({content.modality for content in contents})
    parts = {name: [c for c in contents if c.modality == name] for name in names}
    return {name: place(cs, [rows(c) for c in cs], len(items)) for name, cs in parts.items()}
