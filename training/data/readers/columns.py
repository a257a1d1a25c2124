"""Validation of Arrow columns: ids, numbers and split labels."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.format.item_table import plain
from training.data.readers.table_file import TableFile

_LARGEST = float(np.finfo(np.float32).max)

_LABELS = pa.array(["train", "valid", "test", "0", "1", "2", "0.0", "1.0", "2.0"])
"""Spellings of TRAIN, VALID and TEST; the label is the position modulo 3."""


def ids(source: TableFile, table: pa.Table, column: str) -> pa.ChunkedArray:
    """Ids [N] as non-empty strings, from text or integers.

    Raises:
        InputError: an id is empty, or the column contains neither text nor integers.
    """
    values = _texts_or_integers(source, table, column).cast(pa.string())
    empty = pc.equal(pc.fill_null(pc.binary_length(values), 0), 0)
    if (row := first_true(empty)) is not None:
        raise source.error("the id is empty", row, column)
    return values


def encoded_ids(
    source: TableFile, table: pa.Table, column: str
) -> tuple[pa.StringArray, NDArray[np.int32]]:
    """Distinct ids in order of first occurrence, and each row's position among them [N].

    Raises:
        InputError: as `ids`.
    """
    values = _texts_or_integers(source, table, column)
    encoded = values.dictionary_encode().unify_dictionaries().chunks
    distinct = encoded[0].dictionary.cast(pa.string())
    if values.null_count or pc.any(pc.equal(pc.binary_length(distinct), 0)).as_py():
        ids(source, table, column)  # says in which row
    return distinct, np.concatenate([chunk.indices.to_numpy() for chunk in encoded])


def _texts_or_integers(source: TableFile, table: pa.Table, column: str) -> pa.ChunkedArray:
    values = decoded(table[column])
    kind = values.type
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
        if pa.types.is_null(kind):
            raise source.error("the id is empty", 0, column)
        row = None
        if pa.types.is_floating(kind):
            number = values.cast(pa.float64())
            whole = pc.and_(pc.equal(number, pc.floor(number)), pc.less(pc.abs(number), 2.0**63))
            row = first_true(pc.invert(whole))
        raise source.error(f"ids must be text or integers, not {kind}", row, column)
    return values


def distinct_ids(source: TableFile, table: pa.Table, column: str) -> pa.StringArray:
    """Ids [N] as strings.

    Raises:
        InputError: an id occurs twice, or as `ids`.
    """
    distinct, positions = encoded_ids(source, table, column)
    if len(distinct) < len(positions):
        row = int((positions != np.arange(len(positions))).argmax())
        item = distinct[int(positions[row])].as_py()
        raise source.error(f"the id {item!r} occurs twice", row, column)
    return distinct


def numbers(
    source: TableFile,
    table: pa.Table,
    column: str,
    minimum: float = -_LARGEST,
) -> NDArray[np.float64]:
    """Numbers [N] in the range of float32.

    Raises:
        InputError: a value is missing, not a number, not finite, too large or below `minimum`.
    """
    values = decoded(table[column])
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        bad = first_true(pc.is_valid(values)) or 0
        raise source.error(f"{values[bad].as_py()!r} is not a number", bad, column)
    if not _is_number(kind) and not pa.types.is_null(kind):
        raise source.error(f"expected numbers, not {kind}", column=column)
    if (row := first_true(pc.is_null(values))) is not None:
        raise source.error("the number is missing", row, column)
    result = floats(values)
    wrong = ~((result >= minimum) & (result <= _LARGEST))
    if wrong.any():
        row = int(wrong.argmax())
        why = f"below {minimum:g}" if result[row] < minimum else f"above {_LARGEST:g}"
        if not np.isfinite(result[row]):
            why = "not finite"
        raise source.error(f"{result[row]:g} is {why}", row, column)
    return result


def floats(values: pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers, or texts of numbers, as float64 [N]; null becomes NaN.

    Raises:
        pa.ArrowInvalid: a text is not a number.
    """
    # Integers beyond 2^53 are rounded, which is no error here.
    result: NDArray[np.float64] = values.cast(pa.float64(), safe=False).to_numpy()
    return result


def labels(source: TableFile, table: pa.Table, column: str) -> NDArray[np.int8]:
    """Split labels [N] from train/valid/test or 0/1/2.

    Raises:
        InputError: a value is not one of these.
    """
    values = decoded(table[column])
    if not (pa.types.is_string(values.type) or _is_number(values.type)):
        raise source.error(f"labels must be text or integers, not {values.type}", column=column)
    values = values.cast(pa.string())
    found = pc.index_in(values, value_set=_LABELS)
    if (row := first_true(pc.is_null(found))) is not None:
        value = values[row].as_py()
        what = "the label is missing" if value is None else f"{value!r} is not a label"
        raise source.error(f"{what} (train, valid, test or 0, 1, 2)", row, column)
    result: NDArray[np.int8] = (found.to_numpy() % 3).astype(np.int8)
    return result


def first_true(mask: pa.ChunkedArray) -> int | None:
    """Row of the first True, None if there is none."""
    row: int = pc.index(mask, pa.scalar(True)).as_py()
    return None if row < 0 else row


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def decoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with a plain type; an all-null column stays null."""
    return values if pa.types.is_null(values.type) else values.cast(plain(values.type))
