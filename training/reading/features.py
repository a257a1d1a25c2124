"""Features and relation graphs of the modalities: from files to rows of items."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.errors import InputError
from training.dataset import Modality
from training.reading.arrays import read_graph, read_matrix
from training.reading.feature_tables import read_keyed
from training.reading.file import TABLE_SUFFIXES, Source, first_line_not_utf8, located

_PART = re.compile(r"(?P<name>.+)_(?P<part>feat(?=\.)|items(?=\.txt$)|knn).*")

_SUFFIXES = {"feat": (".npy", *TABLE_SUFFIXES), "knn": (".npz",), "items": (".txt",)}


@dataclass(frozen=True)
class Content:
    """One file of one modality, R rows in the order of the file.

    Attributes:
        modality: its name.
        file: the file's name.
        n_rows: R.
        ids: [R] item ids of the rows, None if they are known by position only.
        error: makes the error for something wrong with the item of a row.
        features: [R, F] float32, None in a graph's file.
        graph: neighbours [R, k] as rows of this file and cosines [R, k], None in a features' file.
    """

    modality: str
    file: str
    n_rows: int
    ids: list[str] | None
    error: Callable[[str, int], InputError]
    features: NDArray[np.float32] | None = None
    graph: tuple[NDArray[np.int32], NDArray[np.float32]] | None = None


def read_contents(files: Iterable[Path], notes: list[str]) -> list[Content]:
    """All files of features and graphs among `files`, by modality and then features first.

    `<modality>_feat.npy` and `<modality>_knn*.npz` have rows without ids, unless
    `<modality>_items.txt` lists them, one id a line. `<modality>_feat.parquet|csv|jsonl` has a
    column `item_id` (or `itemID`) and either a column `features` of lists or columns of numbers.

    Raises:
        InputError: a file is wrong, or there are two of its sort for one modality.
    """
    parts: dict[tuple[str, str], Path] = {}
    for path in files:
        found = _PART.fullmatch(path.name)
        suffixes = _SUFFIXES[found["part"]] if found else ()
        if not found or path.suffix not in suffixes:
            if found or path.suffix in (".npy", ".npz"):
                notes.append(f"{path.name} is not read: no name of features or of a graph")
            continue
        name, part = found["name"], found["part"]
        other = parts.setdefault((name, part), path)
        if other != path:
            what = "features" if part == "feat" else "graphs"
            raise located(path.name, f"{other.name} has {what} of modality {name!r} too")
    contents = []
    for (name, part), path in sorted(parts.items()):
        order = parts.get((name, "items"))
        if part == "items":
            if not ({(name, "feat"), (name, "knn")} & parts.keys()):
                raise located(path.name, f"there are no {name}_feat.* and {name}_knn*.npz to list")
        elif path.suffix in TABLE_SUFFIXES:
            contents.append(_table(name, Source(path)))
        else:
            contents.append(_array(name, path, order))
    return contents


def place(contents: list[Content], rows: list[NDArray[np.int32]], n_items: int) -> Modality:
    """The files of one modality under the final numbering of items.

    An item without features is absent, and so is one whose features are all zero. An item without
    a row in the graph gets itself as every neighbour, with cosine 0.

    Args:
        contents: one or two files, at most one with features and one with a graph.
        rows: item_idx of each file's rows, [R] each.
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
        present = np.isin(np.arange(n_items), rows[0])
    return Modality(features, present, idx, cos)


def _table(name: str, source: Source) -> Content:
    """A file of rows keyed by item."""
    key, items, rows, features = read_keyed(source)

    def error(what: str, row: int) -> InputError:
        return source.error(what, int(rows[row]), key)

    return Content(name, source.name, len(items), items, error, features)


def _array(name: str, path: Path, order: Path | None) -> Content:
    """A file of rows without ids, or with those that `order` lists."""
    features = read_matrix(path) if path.suffix == ".npy" else None
    graph = read_graph(path) if features is None else None
    n_rows = len(features) if features is not None else len(graph[0]) if graph else 0
    if order is None:

        def error(what: str, row: int) -> InputError:
            return located(path.name, what, f"row {row} (from 0)")

        return Content(name, path.name, n_rows, None, error, features, graph)

    listed = _read_list(order)
    if len(listed) != n_rows:
        raise located(path.name, f"{n_rows:,} rows, but {order.name} lists {len(listed):,} items")

    def error_listed(what: str, row: int) -> InputError:
        return located(order.name, what, f"line {row + 1}")

    return Content(name, path.name, n_rows, listed, error_listed, features, graph)


def _read_list(path: Path) -> list[str]:
    """Distinct ids, one a line."""
    try:
        lines = path.read_text("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        line = first_line_not_utf8(path)
        raise located(path.name, "not UTF-8 text", f"line {line}") from error
    except OSError as error:
        raise located(path.name, f"cannot be read ({error.strerror})") from error
    seen: dict[str, int] = {}
    for row, item in enumerate(lines):
        if not item:
            raise located(path.name, "the id is empty", f"line {row + 1}")
        if seen.setdefault(item, row) != row:
            raise located(path.name, f"the id {item!r} occurs twice", f"line {row + 1}")
    return lines
