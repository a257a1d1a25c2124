"""Reader of data folders: recognises the layout and numbers users and items across all files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.ids import IdMap
from training.data.dataset import Dataset, Modality, fingerprint
from training.data.readers.columns import first_true
from training.data.readers.features import ModalityFile, build_modality, read_modality_files
from training.data.readers.interactions import InteractionLog, coverage_notes, read_log, renumbered
from training.data.readers.layout import Layout, conflicting_files, tables_named
from training.data.readers.mmrec import mmrec_layout
from training.data.readers.tables import tables_layout

NAMED = 5
"""Number of files that a message names; of more it names the first."""
_NUMBER = r"\A(0|[1-9][0-9]{0,17})\z"


def read_dataset(path: str | Path, min_weight: float | None = None) -> Dataset:
    """Read a data folder in the MMRec layout or in the layout of tables.

    Args:
        path: the folder.
        min_weight: drop likes with a lower weight or rating. Items without any other interaction
            stay, because the catalogue has them; users without any other do not.

    Raises:
        InputError: the data are invalid; one sentence names file, place and column.
    """
    folder = Path(path)
    notes: list[str] = []
    files = _files(folder)
    layout = _layout(folder, files, notes)
    log = read_log(layout.log, layout.columns, min_weight, notes)
    contents = read_modality_files(files, notes)
    notes += _unread(files, layout, contents, notes)
    _check_overlap(layout, log, contents)
    item_ids = _item_ids(layout, log, contents)

    users = IdMap(_sorted_if_numbers(log.user_ids), "user_id")
    items = IdMap(item_ids, "item_id")
    user_of, item_of = users.rows(log.user_ids), items.rows(log.item_ids)
    interactions = renumbered(log.interactions, user_of, item_of)
    dislikes = None if log.dislikes is None else renumbered(log.dislikes, user_of, item_of)
    modalities = _modalities(contents, items)
    if layout.items is None:
        item_table = pa.table({"item_id": item_ids})
    else:
        item_table = layout.items.ordered(item_ids)
        if extra := len(items) - len(layout.items.ids):
            notes.append(f"items without a row in {layout.items.source.name}: {extra:,}")
    notes += coverage_notes(interactions, len(users), len(items))
    for name, modality in modalities.items():
        if absent := int((~modality.present).sum()):
            notes.append(f"items without {name}: {absent:,} of {len(items):,}")
    digest = fingerprint(users, items, interactions, modalities, dislikes)
    return Dataset(users, items, interactions, modalities, item_table, digest, notes, dislikes)


def _files(folder: Path) -> list[Path]:
    """Files of the folder in order of name, hidden ones excluded."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error


def _layout(folder: Path, files: list[Path], notes: list[str]) -> Layout:
    logs = [path for path in files if path.suffix == ".inter"]
    tables = tables_named(files, "interactions")
    if not logs and not tables:
        there = f" (there are: {_some(files)})" if files else ""
        raise InputError(
            f"{folder}: has no .inter file and no interactions.parquet|csv|jsonl{there}"
        )
    if logs and tables:
        raise conflicting_files(logs + tables, "files of both layouts")
    if len(logs + tables) > 1:
        raise conflicting_files(logs + tables, "several interaction files")
    return mmrec_layout(files, notes) if logs else tables_layout(files, notes)


def _some(files: list[Path]) -> str:
    """Names of files, of many only the first."""
    names = [f"{path.name}/" if path.is_dir() else path.name for path in files]
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _unread(
    files: list[Path], layout: Layout, contents: list[ModalityFile], notes: list[str]
) -> list[str]:
    """A note about files and folders that have no role and no note yet."""
    known = {note.partition(" is not read")[0] for note in notes}
    known |= {layout.log.name} | {content.file for content in contents}
    known |= {f"{content.modality}_items.txt" for content in contents}
    if layout.items is not None:
        known.add(layout.items.source.name)
    others = [path for path in files if path.name not in known]
    return [f"files and folders not read: {len(others):,} ({_some(others)})"] if others else []


def _check_overlap(layout: Layout, log: InteractionLog, contents: list[ModalityFile]) -> None:
    """Refuse files with ids of which none occurs in the log: they are written in another way."""
    if layout.items is not None:
        named = [(layout.items.source.name, layout.items.ids)]
    elif layout.matching == "number" and any(content.ids is None for content in contents):
        named = []  # rows of arrays define the ids
    else:
        named = [(content.file, content.ids) for content in contents if content.ids is not None]
    for file, ids in named:
        if not pc.any(pc.is_in(ids, value_set=log.item_ids)).as_py():
            here, there = ids[0].as_py(), log.item_ids[0].as_py()
            raise InputError(
                f"{file}: none of its {len(ids):,} item ids occurs in {log.source.name}"
                f" ({here!r:.80} here, {there!r:.80} there)"
            )


def _item_ids(layout: Layout, log: InteractionLog, contents: list[ModalityFile]) -> pa.StringArray:
    """All item ids in their final order.

    Items matched by number are sorted by number, 0…R-1 if arrays have R rows. Others follow the
    items table, then their first interaction, then, without an items table, the feature files.
    """
    table = layout.items
    by_position = [c for c in contents if c.ids is None]
    _check_rows(layout, by_position)
    known = _joined(table.ids, log.item_ids) if table else log.item_ids
    if layout.matching == "number" and by_position:
        n = by_position[0].n_rows
        known = pa.array(np.arange(n)).cast(pa.string())
        what = f"item {{!r}} has no row in {by_position[0].file} (rows 0 to {n - 1})"
        if (row := _first_unknown(log.item_ids, known)) is not None:
            item = log.item_ids[row].as_py()
            raise log.source.error(what.format(item), int(log.item_rows[row]), log.columns.item)
        if table and (row := _first_unknown(table.ids, known)) is not None:
            raise table.source.error(what.format(table.ids[row].as_py()), row, table.key)
    closed = table is not None or (layout.matching == "number" and bool(by_position))
    for content in contents:
        if content.ids is None:
            continue
        if closed and (row := _first_unknown(content.ids, known)) is not None:
            raise content.error(f"unknown item {content.ids[row].as_py()!r}", row)
        known = _joined(known, content.ids)
    return _sorted_if_numbers(known) if layout.matching == "number" else known


def _joined(some: pa.StringArray, others: pa.StringArray) -> pa.StringArray:
    """Distinct ids of both, in order of first occurrence."""
    return pc.unique(pa.chunked_array([some, others]))


def _first_unknown(ids: pa.StringArray, known: pa.StringArray) -> int | None:
    """Position of the first id that is not among the known ones, None if all are."""
    return first_true(pc.invert(pc.is_in(ids, value_set=known)))


def _check_rows(layout: Layout, by_position: list[ModalityFile]) -> None:
    """Refuse arrays without ids whose number of rows is wrong."""
    for content in by_position:
        if layout.matching == "number":
            other, n = by_position[0].file, by_position[0].n_rows
        elif layout.items is not None:
            other, n = layout.items.source.name, len(layout.items.ids)
        else:
            raise InputError(
                f"{content.file}: the ids of its rows are unknown; add an items table or"
                f" {content.modality}_items.txt (one id per line)"
            )
        if content.n_rows != n:
            raise InputError(f"{content.file}: {content.n_rows:,} rows, but {other} has {n:,}")


def _sorted_if_numbers(ids: pa.StringArray) -> pa.StringArray:
    """The ids sorted by number if all are plain whole numbers, otherwise unchanged."""
    if not pc.all(pc.match_substring_regex(ids, _NUMBER)).as_py():
        return ids
    return ids.take(pc.sort_indices(ids.cast(pa.int64())))


def _modalities(contents: list[ModalityFile], items: IdMap) -> dict[str, Modality]:
    def rows(content: ModalityFile) -> NDArray[np.int32]:
        # Without ids, row r belongs to item r in both layouts.
        return (
            np.arange(content.n_rows, dtype=np.int32)
            if content.ids is None
            else items.rows(content.ids)
        )

    names = sorted({content.modality for content in contents})
    parts = {name: [c for c in contents if c.modality == name] for name in names}
    return {
        name: build_modality(cs, [rows(c) for c in cs], len(items)) for name, cs in parts.items()
    }
