"""Columns of an Arrow table as checked ids, numbers and split labels."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.reading.file import Source

_LARGEST = float(np.finfo(np.float32).max)

_LABELS = pa.array(["train", "valid", "test", "0", "1", "2", "0.0", "1.0", "2.0"])
"""Spellings of TRAIN, VALID, TEST: the label is the position modulo 3."""


def ids(source: Source, table: pa.Table, column: str) -> pa.ChunkedArray:
    """Ids [N] as non-empty strings; text as it is, integers as written.

    Raises:
        InputError: an id is empty, or the column holds neither text nor integers.
    """
    values = _decoded(table[column])
    kind = values.type
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
        if pa.types.is_null(kind):
            raise source.error("the id is empty", 0, column)
        raise source.error(f"ids must be text or integers, not {kind}", column=column)
    values = values.cast(pa.string())
    empty = pc.equal(pc.fill_null(pc.binary_length(values), 0), 0)
    if (row := first_true(empty)) is not None:
        raise source.error("the id is empty", row, column)
    return values


def distinct_ids(source: Source, values: pa.ChunkedArray, column: str) -> list[str]:
    """The ids as a list.

    Raises:
        InputError: an id occurs twice.
    """
    first: dict[str, int] = {}
    for row, item in enumerate(values.to_pylist()):
        if first.setdefault(item, row) != row:
            raise source.error(f"the id {item!r} occurs twice", row, column)
    return list(first)


def encode(values: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """Distinct ids in the order of their first occurrence, and the number of each row's id [N]."""
    distinct = pc.unique(values)
    return distinct.to_pylist(), pc.index_in(values, value_set=distinct).to_numpy().astype(np.int32)


def numbers(
    source: Source,
    table: pa.Table,
    column: str,
    minimum: float = -_LARGEST,
) -> NDArray[np.float64]:
    """Numbers [N] that float32 can hold; a date or time becomes seconds since 1970.

    Raises:
        InputError: a value is missing, no number, not finite, too large or below `minimum`.
    """
    values = _decoded(table[column])
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        micros = values.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
        values = pc.divide(micros.cast(pa.float64()), 1e6)
    elif pa.types.is_string(kind) or pa.types.is_boolean(kind):
        bad = first_true(pc.is_valid(values)) or 0
        raise source.error(f"{values[bad].as_py()!r} is not a number", bad, column)
    elif not _is_number(kind) and not pa.types.is_null(kind):
        raise source.error(f"numbers are expected, not {kind}", column=column)
    if (row := first_true(pc.is_null(values))) is not None:
        raise source.error("the number is missing", row, column)
    result: NDArray[np.float64] = values.cast(pa.float64()).to_numpy()
    wrong = ~((result >= minimum) & (result <= _LARGEST))
    if wrong.any():
        row = int(wrong.argmax())
        why = f"below {minimum:g}" if result[row] < minimum else f"above {_LARGEST:g}"
        if not np.isfinite(result[row]):
            why = "not finite"
        raise source.error(f"{result[row]:g} is {why}", row, column)
    return result


def labels(source: Source, table: pa.Table, column: str) -> NDArray[np.int8]:
    """Split labels [N] from train/valid/test or 0/1/2.

    Raises:
        InputError: a value is none of these.
    """
    values = _decoded(table[column])
    if not (pa.types.is_string(values.type) or _is_number(values.type)):
        raise source.error(f"labels must be text or integers, not {values.type}", column=column)
    values = values.cast(pa.string())
    found = pc.index_in(values, value_set=_LABELS)
    if (row := first_true(pc.is_null(found))) is not None:
        value = values[row].as_py()
        what = "the label is missing" if value is None else f"{value!r} is no label"
        raise source.error(f"{what} (train, valid, test or 0, 1, 2)", row, column)
    result: NDArray[np.int8] = (found.to_numpy() % 3).astype(np.int8)
    return result


def first_true(mask: pa.ChunkedArray) -> int | None:
    """Row of the first true value, None if there is none."""
    row: int = pc.index(mask, pa.scalar(True)).as_py()
    return None if row < 0 else row


def plain(kind: pa.DataType) -> pa.DataType:
    """The type without dictionary, size or view variants: what the formats have in common."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    if is_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists, of any size variant."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _decoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionary-encoded and large strings as plain strings; an all-null column stays null."""
    return values if pa.types.is_null(values.type) else values.cast(plain(values.type))
