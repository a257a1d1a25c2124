"""Features as a table with one row an item: a list in one column, or a column for each number."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.reading.columns import distinct_ids, ids, is_list, numbers, plain
from training.reading.file import Source

KEYS = ("item_id", "itemID")
LISTS = "features"


def read_keyed(
    source: Source,
) -> tuple[str, list[str], NDArray[np.int64], NDArray[np.float32]]:
    """Read a table of features; rows whose list is null are left out.

    Returns:
        The name of the id column, item ids [R], their data rows [R] and the features [R, F].

    Raises:
        InputError: the id column is missing, an id is empty or repeated, lists differ in length,
            or a value is missing, no number or not finite.
    """
    header = source.header()
    key = next((c for c in KEYS if c in header), None)
    if key is None:
        raise source.missing(KEYS[0])
    as_lists = LISTS in header and source.kind != "csv"
    columns = [LISTS] if as_lists else [c for c in header if c != key]
    if not columns:
        raise source.error("there are no features beside the item ids")
    kind = pa.list_(pa.float64()) if as_lists else pa.float64()
    table = source.read({key: pa.string(), **dict.fromkeys(columns, kind)}, only=True)
    items = distinct_ids(source, ids(source, table, key), key)
    if as_lists:
        rows, values = _lists(source, table[LISTS])
    else:
        rows = np.arange(len(items))
        values = np.stack([numbers(source, table, c) for c in columns], axis=1)
    with np.errstate(over="ignore"):  # what does not fit is reported just below
        features = values.astype(np.float32)
    if (bad := ~np.isfinite(features)).any():
        row, column = divmod(int(bad.argmax()), features.shape[1])
        where = f" in position {column} (from 0)" if as_lists else ""
        what = f"{values[row, column]:g}{where} is not finite as float32"
        raise source.error(what, int(rows[row]), columns[0] if as_lists else columns[column])
    return key, [items[row] for row in rows], rows, features


def _lists(
    source: Source, column: pa.ChunkedArray
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows that have a list [R], and the lists as a matrix [R, F] with NaN for a null."""
    kind = plain(column.type)
    if not is_list(kind) or not (
        pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
    ):
        raise source.error(f"lists of numbers are expected, not {kind}", column=LISTS)
    lists = column.cast(pa.list_(pa.float64()))
    lengths = pc.list_value_length(lists)
    rows = np.flatnonzero(pc.is_valid(lengths).to_numpy())
    sizes = lengths.drop_null().to_numpy()
    if not len(sizes) or not sizes[0]:
        raise source.error("the list is empty", int(rows[0]) if len(rows) else 0, LISTS)
    if (bad := sizes != sizes[0]).any():
        row = int(bad.argmax())
        what = f"{sizes[row]} numbers where the rows before have {sizes[0]}"
        raise source.error(what, int(rows[row]), LISTS)
    return rows, pc.list_flatten(lists).to_numpy().reshape(len(rows), sizes[0])
