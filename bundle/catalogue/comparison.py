"""Comparison of item columns with the values of a filter.

Columns with a unit (integers, decimals, dates, times, durations) store integers, so a comparison is
whether these lie in an interval. It is exact for any value, whether the column could store it or
not. Floats are compared in their own precision: 0.1 equals the float32 that is nearest to it.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bundle.catalogue.values import limits_of, moment, multiples, number, unit_of
from bundle.errors import InputError
from bundle.format.item_table import is_list
from bundle.types import Mask

SHOWN = 60
"""Maximum number of characters of a wrong value that an error repeats."""
_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


class FilterError(InputError):
    """A filter with a syntax error, or one that does not fit the columns."""


class Literal(NamedTuple):
    """A value in a filter.

    Attributes:
        text: as it is written.
        value: a string, true or false; None for a number, whose digits are the text.
    """

    text: str
    value: str | bool | None


class Column(NamedTuple):
    """A column of a plain type, with its name for errors."""

    name: str
    values: pa.ChunkedArray

    @property
    def missing(self) -> Mask:
        """Rows [I] without a value; NaN is none."""
        return _to_mask(pc.is_null(self.values, nan_is_null=True))

    def equals(self, literals: Sequence[Literal]) -> Mask:
        """Rows [I] with one of some values, or with a list that contains one.

        Raises:
            FilterError: the type cannot be compared, or not with these values.
        """
        kind = self.values.type
        if not is_list(kind):
            return _equal(self.values, _read(self.name, kind, literals))
        lists = self.values.combine_chunks()
        found = _equal(pc.list_flatten(lists), _read(self.name, kind.value_type, literals))
        # Not `list_parent_indices`: a missing list may have elements there, which it counts.
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        mask = np.zeros(len(lists), np.bool_)
        mask[np.arange(len(lists)).repeat(lengths)[found]] = True
        return mask

    def compares(self, operator: str, literal: Literal) -> Mask:
        """Rows [I] with a value before or after another one.

        Raises:
            FilterError: the column has no order, or cannot be compared with this value.
        """
        kind = self.values.type
        if is_list(kind) or not (pa.types.is_floating(kind) or unit_of(kind)):
            raise FilterError(f"{self.name} has no order; use = or !=")
        (value,) = _read(self.name, kind, [literal])
        if unit_of(kind) is None:
            return _to_mask(_ORDER[operator](self.values, pa.scalar(value, kind)))
        least, largest = limits_of(kind)
        if operator in (">", ">="):
            least = max(least, floor(value) + 1 if operator == ">" else ceil(value))
        else:
            largest = min(largest, ceil(value) - 1 if operator == "<" else floor(value))
        if least > largest:
            return np.zeros(len(self.values), np.bool_)
        first, last = multiples([least, largest], kind)
        return _to_mask(
            pc.and_(pc.greater_equal(self.values, first), pc.less_equal(self.values, last))
        )


def _read(name: str, kind: pa.DataType, literals: Sequence[Literal]) -> list[Any]:
    """Values in the column's type; of a column with a unit, how many of it, with fractions."""
    types = pa.types
    unit = unit_of(kind)
    read: Callable[[Literal], Any]
    if types.is_boolean(kind):
        wanted, read = "true or false", _boolean
    elif types.is_string(kind):
        wanted, read = "a string", _string
    elif types.is_floating(kind):
        wanted, read = "a number", _in_precision(kind)
    elif unit is None:
        raise FilterError(f"{name} has the type {kind}, which cannot be compared")
    elif types.is_time(kind):
        wanted, read = 'a time such as "09:30:00"', _moment_of(kind)
    elif types.is_date(kind) or types.is_timestamp(kind):
        wanted, read = 'a date such as "2026-01-31" or "2026-01-31T09:30:00Z"', _moment_of(kind)
    else:
        wanted, read = "a number", _number
    found = []
    for literal in literals:
        try:
            value: Any = read(literal)
        except TypeError:
            raise FilterError(
                f"{name} must be compared with {wanted}, not with {literal.text}"
            ) from None
        found.append(value if unit is None else value / unit)
    return found


def _boolean(literal: Literal) -> bool:
    if not isinstance(literal.value, bool):
        raise TypeError
    return literal.value


def _string(literal: Literal) -> str:
    if not isinstance(literal.value, str):
        raise TypeError
    return literal.value


def _number(literal: Literal) -> Fraction:
    if literal.value is not None:
        raise TypeError
    try:
        return number(literal.text)
    except ValueError:
        raise FilterError(f"{literal.text[:SHOWN]}: number out of range") from None


def _in_precision(kind: pa.DataType) -> Callable[[Literal], float]:
    def read(literal: Literal) -> float:
        value = float(_number(literal))
        with np.errstate(over="ignore"):
            return float(np.float32(value)) if pa.types.is_float32(kind) else value

    return read


def _moment_of(kind: pa.DataType) -> Callable[[Literal], Fraction]:
    def read(literal: Literal) -> Fraction:
        try:
            return moment(_string(literal), kind)
        except ValueError:
            raise TypeError from None

    return read


def _equal(column: pa.ChunkedArray | pa.Array, values: Sequence[Any]) -> Mask:
    """Elements [n] that equal one of some values, as `_read` returns them."""
    kind = column.type
    if unit_of(kind) is not None:
        least, largest = limits_of(kind)
        whole = [value.numerator for value in values if value.denominator == 1]
        targets = multiples([n for n in whole if least <= n <= largest], kind)
    else:
        is_zero = pa.types.is_floating(kind) and 0.0 in values
        # `is_in` compares bits, and those of -0.0 are others.
        targets = pa.array([*values, -0.0] if is_zero else values, kind)
    if len(targets) == 1:
        return _to_mask(pc.equal(column, targets[0]))
    return _to_mask(pc.is_in(column, value_set=targets, skip_nulls=True))


def _to_mask(found: pa.ChunkedArray | pa.Array) -> Mask:
    filled = pc.fill_null(found, False)
    return cast(Mask, filled.to_numpy(zero_copy_only=False)).astype(np.bool_, copy=False)
