"""An item table with a column of every Arrow type, and what its values are in plain Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

FIXED = pa.list_(pa.string(), 2)
Value = Fraction | float | bool | str | None


@dataclass(frozen=True)
class TypedColumn:
    """A column.

    Attributes:
        array: as a bundle has it.
        values: in plain Python: numbers as fractions or floats, seconds for dates and times, None
            for missing values and NaN; lists of these. None if the type cannot be compared.
    """

    array: pa.Array
    values: list[Any] | None = None


def _integers(kind: pa.DataType, least: int, most: int) -> TypedColumn:
    values = [least, most, least + 1, most - 1, 0, 1, 7, most // 2, most // 2 + 1, None]
    array = pa.array(values, kind)
    return TypedColumn(array, [None if v is None else Fraction(v) for v in values])


def _stored(kind: pa.DataType, unit: Fraction, numbers: Sequence[int | None]) -> TypedColumn:
    array = pa.array(numbers, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    return TypedColumn(array, [None if n is None else n * unit for n in numbers])


def _floats(kind: pa.DataType, width: type[np.floating[Any]]) -> TypedColumn:
    nan, inf = float("nan"), float("inf")
    given = [0.1, -0.0, 0.0, 1.5, nan, inf, -inf, 1e-5, 65504.0, None]
    exact = [None if v is None else float(width(v)) for v in given]
    array = pa.array([None if v is None else width(v) for v in given], kind)
    return TypedColumn(array, [None if v is None or v != v else v for v in exact])


def _decimals(kind: pa.DataType) -> TypedColumn:
    most = 10**kind.precision - 1
    numbers = [most, -most, 0, 1, -1, 10, 150, most - 1, 250, None]
    values = [None if n is None else Fraction(n) * Fraction(10) ** -kind.scale for n in numbers]
    written = [
        None if n is None else Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -kind.scale))
        for n in numbers
    ]
    return TypedColumn(pa.array(written, kind), values)


def _texts(kind: pa.DataType) -> TypedColumn:
    values = ["a", "b", "", 'q"uo', "ü", "a", None, "long " * 9, "2026-01-31", "5"]
    return TypedColumn(pa.array(values, pa.string()).cast(kind), list(values))


def _lists(kind: pa.DataType) -> TypedColumn:
    values = [["a", None], ["b", "c"], ["c", "d"], None, ["a", "b"]] * 2
    return TypedColumn(pa.array(values, kind), list(values))


def typed_columns() -> dict[str, TypedColumn]:
    """Columns of 10 values each, by name."""
    large = [0, 1, -1, 19_000, 10**9, 2**31 - 1, -(2**31), 86_399, 7, None]
    huge = [0, 1, -1, 1_700_000_000_123_456_789, 2**63 - 1, -(2**63), 2**53 + 1, 2**53, 7, None]
    of_day = [0, 1, 59, 3600, 86_399, 43_200, 7, 8, 9, None]
    text = _texts(pa.string())
    bools = [True, False, None, True, False, True, None, None, False, True]
    days = [[19_000, None], [], None, [1], [2, 3]] * 2
    columns = {
        f"{'u' if least == 0 else ''}int{bits}": _integers(kind, least, 2**top - 1)
        for bits in (8, 16, 32, 64)
        for kind, least, top in (
            (getattr(pa, f"int{bits}")(), -(2 ** (bits - 1)), bits - 1),
            (getattr(pa, f"uint{bits}")(), 0, bits),
        )
    }
    columns |= {
        "float16": _floats(pa.float16(), np.float16),
        "float32": _floats(pa.float32(), np.float32),
        "float64": _floats(pa.float64(), np.float64),
        "date32": _stored(pa.date32(), Fraction(86_400), large),
        "date64": _stored(
            pa.date64(), Fraction(1, 1000), [None if n is None else n * 86_400_000 for n in large]
        ),
        "string": text,
        "large_string": _texts(pa.large_string()),
        "string_view": _texts(pa.string_view()),
        "dictionary": TypedColumn(text.array.dictionary_encode(), text.values),
        "run_ends": TypedColumn(
            pa.RunEndEncodedArray.from_arrays(pa.array(range(1, 11), pa.int32()), text.array),
            text.values,
        ),
        "bool": TypedColumn(pa.array(bools), list(bools)),
        "nothing": TypedColumn(pa.nulls(10), [None] * 10),
        "list": _lists(pa.list_(pa.string())),
        "large_list": _lists(pa.large_list(pa.string())),
        "fixed_list": TypedColumn(
            pa.array([["a", None], ["b", "c"], None, ["c", "d"], ["a", "b"]] * 2, FIXED),
            [["a", None], ["b", "c"], None, ["c", "d"], ["a", "b"]] * 2,
        ),
        "list_of_floats": TypedColumn(
            pa.array([[0.5, None], [], None, [1.0], [2.0, 0.5]] * 2, pa.list_(pa.float64())),
            [[0.5, None], [], None, [1.0], [2.0, 0.5]] * 2,
        ),
        "list_of_bools": TypedColumn(
            pa.array([[True, None], [], None, [False], [True]] * 2),
            [[True, None], [], None, [False], [True]] * 2,
        ),
        "list_of_dates": TypedColumn(
            pa.array(days, pa.list_(pa.date32())),
            [
                row and [None if day is None else Fraction(86_400 * day) for day in row]
                for row in days
            ],
        ),
        "json": TypedColumn(text.array.cast(pa.json_()), text.values),
        "binary": TypedColumn(pa.array([b"\xff", None] * 5)),
        "large_binary": TypedColumn(pa.array([b"\xff", None] * 5, pa.large_binary())),
        "binary_view": TypedColumn(pa.array([b"\xff", None] * 5, pa.binary_view())),
        "fixed_binary": TypedColumn(pa.array([b"\xff\x00", None] * 5, pa.binary(2))),
        "uuid": TypedColumn(pa.array([b"\xff" * 16, None] * 5, pa.uuid())),
        "list_view": TypedColumn(pa.array([["a"], None] * 5, pa.list_view(pa.string()))),
        "struct": TypedColumn(pa.array([{"a": timedelta(1), "b": [1]}, None] * 5)),
        "map": TypedColumn(pa.array([[("a", 1)], None] * 5, pa.map_(pa.string(), pa.int64()))),
        "nested": TypedColumn(pa.array([[["a"], None], None] * 5)),
        "interval": TypedColumn(pa.array([(1, 2, 3), None] * 5, pa.month_day_nano_interval())),
        "union": TypedColumn(
            pa.UnionArray.from_sparse(
                pa.array([0, 1] * 5, pa.int8()),
                [pa.array(range(10)), pa.array([date(2026, 1, 31)] * 10)],
            )
        ),
    }
    if hasattr(pa, "decimal32"):
        columns["decimal32"] = _decimals(pa.decimal32(9, 2))
        columns["decimal64"] = _decimals(pa.decimal64(18, 4))
    columns["decimal128"] = _decimals(pa.decimal128(38, 10))
    columns["decimal256"] = _decimals(pa.decimal256(76, 2))
    hundreds = [Decimal("1E2"), None] * 5
    columns["decimal_of_hundreds"] = TypedColumn(pa.array(hundreds, pa.decimal128(20, -2)))
    for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        one = Fraction(1, per_second)
        times = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        columns |= {
            f"time_{unit}": _stored(
                times, one, [None if n is None else n * per_second + (n < 10) for n in of_day]
            ),
            f"timestamp_{unit}": _stored(pa.timestamp(unit), one, huge),
            f"timestamp_{unit}_paris": _stored(pa.timestamp(unit, "Europe/Paris"), one, huge),
            f"timestamp_{unit}_nowhere": _stored(pa.timestamp(unit, "Mars/Base"), one, huge),
            f"duration_{unit}": _stored(pa.duration(unit), one, huge),
        }
    return columns


def typed_table(item_ids: Sequence[str]) -> pa.Table:
    """The columns above, repeated over some items."""
    columns = {name: column.array for name, column in typed_columns().items()}
    rows = pa.table(columns)
    blocks = -(-len(item_ids) // 10)
    table = pa.concat_tables([rows] * blocks).slice(0, len(item_ids))
    return table.add_column(0, "item_id", pa.array(list(item_ids), pa.string()))
