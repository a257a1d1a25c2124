"""Moments in columns: numbers, ISO 8601 texts, dates and timestamps as seconds since 1970.

They mean what they mean as `timestamp` of `POST /events`, which pydantic reads; a test compares.
"""

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.readers.columns import decoded, first_true, floats, numbers
from training.data.readers.table_file import TableFile

MILLISECONDS_ABOVE = 2e10
"""Numbers above this are milliseconds since 1970, others are seconds: pydantic's limit, which reads
both right for moments from August 1970 to the year 2603."""
END = 253_402_300_800
"""The year 10000 in seconds since 1970: what seems later is a number in another unit."""
EXPECTED = "expected seconds or milliseconds since 1970, or ISO 8601"

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def moments(source: TableFile, table: pa.Table, column: str) -> NDArray[np.float64]:
    """Moments [N] in seconds since 1970, to the microsecond; without a time zone they are in UTC.

    Raises:
        InputError: a value is missing, not a moment, before 1970 or after the year 9999.
    """
    values = decoded(table[column])
    if (row := first_true(pc.is_null(values))) is not None:
        raise source.error("the moment is missing", row, column)
    shown = values
    if pa.types.is_date(values.type) or pa.types.is_timestamp(values.type):
        seconds = _of_timestamps(values)
        shown = seconds
    elif pa.types.is_string(values.type):
        seconds = _of_texts(source, values, column)
    else:
        seconds = _of_numbers(numbers(source, table, column))
    wrong = ~((seconds >= 0) & (seconds < END))
    if wrong.any():
        row = int(wrong.argmax())
        why = "before 1970" if seconds[row] < 0 else f"after the year 9999 ({EXPECTED})"
        raise source.error(f"{shown[row]} is {why}", row, column)
    return seconds


def _of_numbers(given: NDArray[np.float64]) -> NDArray[np.float64]:
    if given.min() >= -MILLISECONDS_ABOVE and given.max() <= MILLISECONDS_ABOVE:
        return given
    return np.where(np.abs(given) > MILLISECONDS_ABOVE, given / 1e3, given)


def _of_timestamps(values: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("s" if pa.types.is_date32(values.type) else "ms"))
    per_second = _PER_SECOND[values.type.unit]
    counts: NDArray[np.int64] = values.cast(pa.int64()).to_numpy()
    # Whole microseconds: a float64 has no more digits, and all units give the same number.
    excess = max(1, per_second // 1_000_000)
    return (counts // excess) / (per_second // excess)


def _of_texts(source: TableFile, values: pa.ChunkedArray, column: str) -> NDArray[np.float64]:
    with suppress(pa.ArrowInvalid):
        return _of_numbers(floats(values))
    # Not all are numbers.
    is_number = pc.match_substring_regex(values, _NUMBER)
    nothing = pa.scalar(None, pa.string())
    texts = pc.if_else(is_number, nothing, values)
    for pattern, complete in (
        (r"^([0-9]{4}-[0-9]{2}-[0-9]{2})$", r"\1T00:00"),
        (r"(\.[0-9]{6})[0-9]+", r"\1"),  # beyond microseconds
        (r"(?i)([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)$", r"\1Z"),  # no time zone
    ):
        texts = pc.replace_substring_regex(texts, pattern, complete)
    kind = pa.timestamp("us", "UTC")
    try:
        dates = texts.cast(kind)
    except pa.ArrowInvalid:
        row = _first_invalid(texts, kind)
        raise source.error(
            f"{values[row].as_py()!r} is not a moment ({EXPECTED})", row, column
        ) from None
    figures = _of_numbers(floats(pc.if_else(is_number, values, nothing)))
    known = is_number.to_numpy()
    return np.where(known, figures, _of_timestamps(dates.fill_null(0)))


def _first_invalid(values: pa.ChunkedArray, kind: pa.DataType) -> int:
    """Row of the first value that cannot be cast, by bisection; there is one."""
    start, stop = 0, len(values)
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            values[start:middle].cast(kind)
            start = middle
        except pa.ArrowInvalid:
            stop = middle
    return start
