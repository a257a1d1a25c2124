"""Values of item columns: as JSON has them, as Arrow stores them, and as filters compare them.

| column | in JSON | compared with |
|---|---|---|
| integers, floats | a number; null for NaN and infinities | a number |
| decimals | a string, "9.50" | a number |
| durations | a string, seconds as a decimal | a number of seconds |
| dates, times, timestamps | a string, ISO 8601 | such a string; UTC if it has no time zone |
| booleans, strings | as they are | as they are |
| lists of these | a list | what one of its elements is compared with |

All but floats are multiples of a unit, so whatever is compared with them is exact, beyond 2⁵³, too.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa

from bundle.format.item_table import is_list

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_FRACTION = re.compile(r"[.,]\d{6}(\d+)")
"""Digits of a second that Python's `fromisoformat` reads over: those after the sixth."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_LARGEST_EXPONENT = 400
"""Largest absolute exponent of a number: float64 ends before, and powers of ten take time."""
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def unit_of(kind: pa.DataType) -> Fraction | None:
    """Unit of a column that stores integers, which 1 stands for: 1, a power of ten, or seconds.

    None for other types.
    """
    types = pa.types
    if types.is_integer(kind):
        return Fraction(1)
    if types.is_decimal(kind) and kind.scale >= 0:  # Arrow compares no others
        return Fraction(1, 10**kind.scale)
    if types.is_date(kind):
        return Fraction(_DAY) if types.is_date32(kind) else Fraction(1, 1000)
    if types.is_time(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        return Fraction(1, _SECONDS[kind.unit])
    return None


def limits_of(kind: pa.DataType) -> tuple[int, int]:
    """Least and largest integer that a column with a unit stores."""
    if pa.types.is_decimal(kind):
        largest = 10**kind.precision - 1
        return -largest, largest
    if pa.types.is_unsigned_integer(kind):
        return 0, 2**kind.bit_width - 1
    return -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1


def multiples(numbers: Sequence[int | None], kind: pa.DataType) -> pa.Array:
    """A column with a unit [n], from the integers that it stores."""
    if pa.types.is_decimal(kind):
        return pa.array([None if n is None else _decimal(n, kind.scale) for n in numbers], kind)
    if pa.types.is_temporal(kind):
        return pa.array(numbers, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    return pa.array(numbers, kind)


def is_comparable(kind: pa.DataType) -> bool:
    """True if a column of a plain type can be compared and changed."""
    if is_list(kind):
        return not is_list(kind.value_type) and is_comparable(kind.value_type)
    types = pa.types
    is_other = types.is_floating(kind) or types.is_boolean(kind) or types.is_string(kind)
    return bool(is_other or unit_of(kind) is not None)


def number(text: str) -> Fraction:
    """An exact number from its decimal digits.

    Raises:
        ValueError: it is none, or beyond float64.
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("is no number")
    value = Decimal(text)
    if abs(value.adjusted()) > _LARGEST_EXPONENT or not isfinite(value):
        raise ValueError("number out of range")
    return Fraction(value)


def moment(text: str, kind: pa.DataType) -> Fraction:
    """Seconds since 1970, or since midnight for a column of times, from ISO 8601.

    Raises:
        ValueError: it is none.
    """
    rest = _FRACTION.search(text)
    beyond = Fraction(int(rest[1]), 10 ** (6 + len(rest[1]))) if rest else Fraction(0)
    if pa.types.is_time(kind):
        of_day = time.fromisoformat(text)
        if of_day.tzinfo is not None:
            raise ValueError("a time of day has no zone")
        since = datetime.combine(date.min, of_day) - datetime.min
    else:
        read = datetime.fromisoformat(text)
        since = (read if read.tzinfo else read.replace(tzinfo=UTC)) - EPOCH
    return _seconds(since) + beyond


def stored(value: Any, kind: pa.DataType) -> Any:
    """A value as `column_of` takes it, from JSON or from Python.

    Raises:
        TypeError, ValueError: it does not fit the type; nothing is rounded or cut but fractions of
            floats.
    """
    if value is None:
        return None
    if is_list(kind):
        if not isinstance(value, list):
            raise TypeError
        return [stored(element, kind.value_type) for element in value]
    if isinstance(value, bool) or pa.types.is_boolean(kind):
        if not (isinstance(value, bool) and pa.types.is_boolean(kind)):
            raise TypeError
        return value
    if pa.types.is_string(kind):
        if not isinstance(value, str):
            raise TypeError
        return value.encode().decode()  # UnicodeEncodeError for half of a pair of surrogates
    if pa.types.is_floating(kind):
        if not isinstance(value, int | float):
            raise TypeError
        kept = float(value)
        is_wide = not pa.types.is_float32(kind)
        if not isfinite(kept) or not (is_wide or abs(kept) <= _LARGEST_FLOAT32):
            raise ValueError
        return kept
    unit = unit_of(kind)
    if unit is None:
        raise TypeError
    count = _quantity(value, kind) / unit
    least, largest = limits_of(kind)
    if count.denominator != 1 or not least <= count.numerator <= largest:
        raise ValueError
    return count.numerator


def column_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column [n] of a comparable type from what `stored` returns."""
    if is_list(kind):
        flat = [element for value in values for element in value or ()]
        ends = np.cumsum([0, *(len(value or ()) for value in values)])
        offsets = pa.array(ends, pa.int32(), mask=np.array([*(v is None for v in values), False]))
        return pa.ListArray.from_arrays(offsets, column_of(flat, kind.value_type), type=kind)
    return pa.array(values, kind) if unit_of(kind) is None else multiples(values, kind)


def json_value(value: pa.Scalar) -> Any:
    """A value as JSON has it; of types that are not comparable, whatever Arrow makes of it."""
    kind = value.type
    if not value.is_valid:
        return None
    if is_list(kind):
        return [json_value(element) for element in value.values]
    try:
        found = value.as_py()
    except (ValueError, OverflowError, ArithmeticError, pa.ArrowException):
        return _beyond_python(value)
    if isinstance(found, timedelta):
        return _digits(_seconds(found))
    if isinstance(found, date | time):
        return found.isoformat()
    return format(found, "f") if isinstance(found, Decimal) else found


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table as JSON has them."""
    columns = [map(json_value, column) for column in table.columns]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*columns, strict=True)]


def in_column(value: Any, kind: pa.DataType) -> Any:
    """A value as JSON has it when it comes out of a column again.

    Raises:
        TypeError, ValueError, OverflowError, pa.ArrowException: it does not fit the type.
    """
    if not is_comparable(kind):
        raise TypeError
    return json_value(column_of([stored(value, kind)], kind)[0])


def _beyond_python(value: pa.Scalar) -> str:
    """Text of a value that Python has not: nanoseconds, years after 9999, unknown time zones."""
    kind = value.type
    if pa.types.is_duration(kind):
        unit = unit_of(kind)
        assert unit is not None
        return _digits(value.value * unit)
    if not pa.types.is_temporal(kind):
        return f"<{kind}>"
    zone = ""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        zone = "+00:00"
        value = multiples([value.value], pa.timestamp(kind.unit))[0]
    text: str = value.cast(pa.string()).as_py()
    return text if text.startswith("<") else text.replace(" ", "T") + zone


def _quantity(value: Any, kind: pa.DataType) -> Fraction:
    """A number, or the seconds of a date, time or duration."""
    types = pa.types
    if isinstance(value, timedelta) and types.is_duration(kind):
        return _seconds(value)
    if types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind):
        if isinstance(value, date | time):
            value = value.isoformat()
        if not isinstance(value, str):
            raise TypeError
        seconds = moment(value, kind)
        if types.is_date(kind) and seconds % _DAY:
            raise ValueError
        return seconds
    fits = int | float if types.is_integer(kind) else int | float | Decimal | str
    if not isinstance(value, fits):
        raise TypeError
    return number(str(value))


def _seconds(span: timedelta) -> Fraction:
    return Fraction(span // timedelta(microseconds=1), 10**6)


def _digits(seconds: Fraction) -> str:
    """Seconds of a multiple of nanoseconds as a decimal."""
    nanoseconds = int(seconds * 10**9)
    text = f"{abs(nanoseconds) // 10**9}.{abs(nanoseconds) % 10**9:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nanoseconds < 0 else text


def _decimal(number: int, scale: int) -> Decimal:
    digits = tuple(map(int, str(abs(number))))
    return Decimal((int(number < 0), digits, -scale))
