"""Readers of modality files: feature matrices, feature tables and relation graphs."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.errors import InputError
from bundle.format.item_table import is_list, plain
from training.data.dataset import Modality
from training.data.readers.arrays import LARGEST, read_graph, read_matrix, why_not
from training.data.readers.columns import distinct_ids, numbers
from training.data.readers.table_file import (
    TABLE_SUFFIXES,
    TableFile,
    file_error,
    first_line_not_utf8,
)

_PART = re.compile(r"(?P<name>.+)_(?P<part>feat(?=\.)|items(?=\.txt$)|knn).*")

_SUFFIXES = {"feat": (".npy", *TABLE_SUFFIXES), "knn": (".npz",), "items": (".txt",)}


KEYS = ("item_id", "itemID")
LISTS = "features"


@dataclass(frozen=True)
class ModalityFile:
    """One file of one modality with R rows, in file order.

    Attributes:
        modality: name of the modality.
        file: name of the file.
        n_rows: R.
        ids: [R] item ids of the rows, None if rows are matched by position.
        error: builds an error about the item of a row.
        features: [R, F] float32; None for a graph.
        graph: neighbours [R, k] as row numbers of this file, and cosines [R, k]; None for features.
    """

    modality: str
    file: str
    n_rows: int
    ids: pa.StringArray | None
    error: Callable[[str, int], InputError]
    features: NDArray[np.float32] | None = None
    graph: tuple[NDArray[np.int32], NDArray[np.float32]] | None = None


def read_modality_files(files: Iterable[Path], notes: list[str]) -> list[ModalityFile]:
    """Read all feature and graph files, sorted by modality, features before graph.

    `<modality>_feat.npy` and `<modality>_knn*.npz` have rows without ids, unless
    `<modality>_items.txt` lists the ids, one per line. `<modality>_feat.parquet|csv|jsonl` has a
    column `item_id` (or `itemID`) and either a list column `features` or columns of numbers.

    Args:
        files: candidates; others are skipped.
        notes: gets a sentence about each skipped NumPy file.

    Raises:
        InputError: a file is invalid, or a modality has two files of the same kind.
    """
    parts: dict[tuple[str, str], Path] = {}
    for path in files:
        found = _PART.fullmatch(path.name)
        suffixes = _SUFFIXES[found["part"]] if found else ()
        if not found or path.suffix not in suffixes:
            if found or path.suffix in (".npy", ".npz"):
                notes.append(f"{path.name} is not read: its name is not that of a modality file")
            continue
        name, part = found["name"], found["part"]
        other = parts.setdefault((name, part), path)
        if other != path:
            what = "features" if part == "feat" else "graphs"
            raise file_error(path.name, f"{other.name} has {what} of modality {name!r} too")
    contents = []
    for (name, part), path in sorted(parts.items()):
        order = parts.get((name, "items"))
        if part == "items":
            if not ({(name, "feat"), (name, "knn")} & parts.keys()):
                raise file_error(
                    path.name, f"there are no {name}_feat.* and {name}_knn*.npz to list"
                )
        elif path.suffix in TABLE_SUFFIXES:
            contents.append(_table(name, TableFile(path)))
        else:
            contents.append(_array(name, path, order))
    return contents


def build_modality(
    contents: list[ModalityFile], rows: list[NDArray[np.int32]], n_items: int
) -> Modality:
    """Build a modality from its files.

    Items without features or with all-zero features are absent. Items without a row in the graph
    have themselves as every neighbour, with cosine 0.

    Args:
        contents: features, a graph, or both.
        rows: item_idx [R] of each file's rows.
        n_items: I.
    """
    features = np.zeros((n_items, 0), np.float32)
    present = None
    idx = cos = None
    for content, items in zip(contents, rows, strict=True):
        if content.features is not None:
            features = np.zeros((n_items, content.features.shape[1]), np.float32)
            features[items] = content.features
            present = (features != 0).any(axis=1)
        if content.graph is not None:
            neighbours, cosines = content.graph
            k = neighbours.shape[1]
            idx = np.repeat(np.arange(n_items, dtype=np.int32)[:, None], k, axis=1)
            idx[items] = items[neighbours]
            cos = np.zeros((n_items, k), np.float32)
            cos[items] = cosines
    if present is None:
        present = np.zeros(n_items, np.bool_)
        present[rows[0]] = True
    return Modality(features, present, idx, cos)


def _table(name: str, source: TableFile) -> ModalityFile:
    """Read a feature table, whose rows have item ids."""
    key, items, rows, features = read_keyed(source)

    def error(what: str, row: int) -> InputError:
        return source.error(what, int(rows[row]), key)

    return ModalityFile(name, source.name, len(items), items, error, features)


def _array(name: str, path: Path, order: Path | None) -> ModalityFile:
    """Read a NumPy file, whose rows have the ids that `order` lists, if it is given."""
    features = read_matrix(path) if path.suffix == ".npy" else None
    graph = read_graph(path) if features is None else None
    n_rows = len(features) if features is not None else len(graph[0]) if graph else 0
    if order is None:

        def error(what: str, row: int) -> InputError:
            return file_error(path.name, what, f"row {row} (from 0)")

        return ModalityFile(name, path.name, n_rows, None, error, features, graph)

    listed = _read_list(order)
    if len(listed) != n_rows:
        raise file_error(
            path.name, f"{n_rows:,} rows, but {order.name} lists {len(listed):,} items"
        )

    def error_listed(what: str, row: int) -> InputError:
        return file_error(order.name, what, f"line {row + 1}")

    return ModalityFile(name, path.name, n_rows, listed, error_listed, features, graph)


def _read_list(path: Path) -> pa.StringArray:
    """Read distinct ids, one per line."""
    try:
        lines = path.read_text("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        line = first_line_not_utf8(path)
        raise file_error(path.name, "is not UTF-8 text", f"line {line}") from error
    except OSError as error:
        raise file_error(path.name, f"cannot be read ({error.strerror})") from error
    seen: dict[str, int] = {}
    for row, item in enumerate(lines):
        if not item:
            raise file_error(path.name, "the id is empty", f"line {row + 1}")
        if seen.setdefault(item, row) != row:
            raise file_error(path.name, f"the id {item!r} occurs twice", f"line {row + 1}")
    return pa.array(lines, pa.string())


def read_keyed(
    source: TableFile,
) -> tuple[str, pa.StringArray, NDArray[np.int64], NDArray[np.float32]]:
    """Read a feature table; rows with a null list are skipped.

    Returns:
        The name of the id column, item ids [R], their data rows [R] and the features [R, F].

    Raises:
        InputError: the id column is missing, an id is empty or repeated, lists differ in length,
            or a value is missing, not a number, not finite or beyond LARGEST.
    """
    header = source.header()
    key = next((c for c in KEYS if c in header), None)
    if key is None:
        raise source.missing(KEYS[0])
    as_lists = LISTS in header and source.kind != "csv"
    columns = [LISTS] if as_lists else [c for c in header if c != key]
    if not columns:
        raise source.error("there are no feature columns")
    kind = pa.list_(pa.float64()) if as_lists else pa.float64()
    table = source.read({key: pa.string(), **dict.fromkeys(columns, kind)}, only=True)
    items = distinct_ids(source, table, key)
    if as_lists:
        rows, values = _lists(source, table[LISTS])
    else:
        rows = np.arange(len(items))
        values = np.stack([numbers(source, table, c) for c in columns], axis=1)
    with np.errstate(over="ignore"):  # overflow to infinity is reported below
        features = values.astype(np.float32)
    if (bad := ~(np.abs(features) <= LARGEST)).any():
        row, column = divmod(int(bad.argmax()), features.shape[1])
        where = f" in position {column} (from 0)" if as_lists else ""
        what = f"{values[row, column]:g}{where} is {why_not(features[row, column])} as float32"
        raise source.error(what, int(rows[row]), columns[0] if as_lists else columns[column])
    return key, items.take(pa.array(rows)), rows, features


def _lists(
    source: TableFile, column: pa.ChunkedArray
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows with a list [R], and the lists as a matrix [R, F] with NaN for null."""
    kind = plain(column.type)
    inner = column.type.value_type if is_list(kind) else column.type
    known = pa.types.is_floating(inner) or pa.types.is_integer(inner)
    if not pa.types.is_null(inner) and not (known and is_list(kind)):
        raise source.error(f"expected lists of numbers, not {kind}", column=LISTS)
    lists = column.cast(pa.list_(pa.float64()))
    lengths = pc.list_value_length(lists)
    rows = np.flatnonzero(pc.is_valid(lengths).to_numpy())
    sizes = lengths.drop_null().to_numpy()
    if not len(sizes) or not sizes[0]:
        raise source.error("the list is empty", int(rows[0]) if len(rows) else 0, LISTS)
    if (bad := sizes != sizes[0]).any():
        row = int(bad.argmax())
        what = f"{sizes[row]} numbers, but the rows before have {sizes[0]}"
        raise source.error(what, int(rows[row]), LISTS)
    return rows, pc.list_flatten(lists).to_numpy().reshape(len(rows), sizes[0])
