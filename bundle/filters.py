"""Which items a filter allows: a small language on the columns of the item table.

    category = "shoes" and price < 50 and not (brand in ["x", "y"] or colour is null)

Columns hold strings, numbers, booleans or lists of strings; a list equals a value that is in it. A
comparison with a missing value is false, and `not` makes it true. Nothing is evaluated but this
grammar.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from lark import Lark, Token, Transformer_NonRecursive, Tree, UnexpectedInput, UnexpectedToken
from lark.exceptions import VisitError
from numpy.typing import NDArray

from bundle.errors import InputError

Mask = NDArray[np.bool_]
Value = str | float | bool

MAX_LENGTH = 1000
"""Characters of a filter."""
MAX_DEPTH = 20
"""Parentheses and `not` inside of each other."""
KEPT = 64
"""Filters whose items are remembered; for a million items each takes up to 4 MB."""

_GRAMMAR = Lark(
    r"""
    ?either: both ("or" both)*                      -> either
    ?both: term ("and" term)*                       -> both
    ?term: "not" term                               -> negation
         | "(" either ")"
         | NAME OPERATOR value                      -> comparison
         | NAME "in" "[" value ("," value)* "]"     -> membership
         | NAME "is" "null"                         -> missing
         | NAME "is" "not" "null"                   -> given
    value: STRING | NUMBER | TRUE | FALSE
    TRUE: "true"
    FALSE: "false"
    OPERATOR: "<=" | ">=" | "!=" | "<" | ">" | "="
    NAME: /[A-Za-z_][A-Za-z0-9_]*/ | /`[^`]+`/
    STRING: /"(?:[^"\\\x00-\x1f]|\\.)*"/
    NUMBER: /-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?/
    %ignore /[ \t\n]+/
    """,
    start="either",
    parser="lalr",
)

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


class FilterError(InputError):
    """A filter that cannot be read or does not fit the columns."""


class ItemFilters:
    """The filters of one item table.

    Args:
        table: items in item_idx order, a row each.
    """

    def __init__(self, table: pa.Table) -> None:
        @lru_cache(KEPT)
        def allowed(text: str) -> NDArray[np.int32]:
            return np.flatnonzero(_mask(text, table)).astype(np.int32)

        self._allowed = allowed

    def allowed(self, text: str) -> NDArray[np.int32]:
        """The item_idx that a filter allows, ascending; not to be changed.

        Raises:
            FilterError: it cannot be read, or does not fit the columns.
        """
        return self._allowed(text)


def _mask(text: str, table: pa.Table) -> Mask:
    if len(text) > MAX_LENGTH:
        raise FilterError(f"has more than {MAX_LENGTH} characters")
    try:
        tree = _GRAMMAR.parse(text)
        _check_depth(tree)
        return _Evaluation(table).transform(tree)
    except UnexpectedInput as error:
        at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        where = "at its end" if at_end else f"at character {(error.pos_in_stream or 0) + 1}"
        raise FilterError(f"cannot be read {where}") from error
    except VisitError as error:
        raise error.orig_exc from error


def _check_depth(tree: Tree[Token]) -> None:
    level, depth = [tree], -1  # the outermost `either` is no nesting
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise FilterError(f"has more than {MAX_DEPTH} parentheses and `not` in each other")
        level = [inner for node in level for inner in _nested(node)]


def _nested(node: Tree[Token]) -> Iterator[Tree[Token]]:
    """The nearest parentheses and `not` below."""
    for child in node.children:
        if isinstance(child, Tree):
            if child.data in ("either", "negation"):
                yield child
            else:
                yield from _nested(child)


class _Evaluation(Transformer_NonRecursive[Token, Mask]):
    """From the leaves up, a mask [I] for each part of a filter."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__()
        self._columns = table

    def either(self, masks: list[Mask]) -> Mask:
        return cast(Mask, np.logical_or.reduce(masks))

    def both(self, masks: list[Mask]) -> Mask:
        return cast(Mask, np.logical_and.reduce(masks))

    def negation(self, masks: list[Mask]) -> Mask:
        return ~masks[0]

    def value(self, tokens: list[Token]) -> Value:
        try:
            return cast(Value, orjson.loads(tokens[0].encode()))
        except orjson.JSONDecodeError:
            raise FilterError(f"{tokens[0]} is no JSON value") from None

    def missing(self, tokens: list[Token]) -> Mask:
        return _to_mask(pc.is_null(self._column(tokens[0])[1]))

    def given(self, tokens: list[Token]) -> Mask:
        return ~self.missing(tokens)

    def comparison(self, parts: list[Any]) -> Mask:
        token, operator, value = parts
        name, column = self._column(token)
        kind = column.type
        if operator not in ("=", "!=") and not _is_number(kind):
            raise FilterError(f"{name} has no order: only = and != compare it")
        if pa.types.is_list(kind):
            found = _has_any(column, _values(name, kind, [value]))
            return found if operator == "=" else ~found & _to_mask(pc.is_valid(column))
        return _to_mask(_COMPARE[operator](column, _values(name, kind, [value])[0]))

    def membership(self, parts: list[Any]) -> Mask:
        name, column = self._column(parts[0])
        values = _values(name, column.type, parts[1:])
        if pa.types.is_list(column.type):
            return _has_any(column, values)
        return _to_mask(pc.is_in(column, value_set=values, skip_nulls=True))

    def _column(self, token: Token) -> tuple[str, pa.ChunkedArray]:
        name = token.strip("`")
        if name not in self._columns.column_names:
            there = ", ".join(self._columns.column_names)
            raise FilterError(f"there is no column {name}; there are {there}")
        return name, self._columns[name]


def _to_mask(found: pa.ChunkedArray) -> Mask:
    return cast(Mask, pc.fill_null(found, False).to_numpy().astype(np.bool_))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _values(name: str, kind: pa.DataType, given: list[Value]) -> pa.Array:
    """Values in the column's own type, so that 1 = 1.0 and nothing else is converted."""
    wanted: str
    fits: tuple[type, ...]
    if _is_number(kind):
        wanted, fits, type_ = "a number", (int, float), pa.float64()
    elif pa.types.is_boolean(kind):
        wanted, fits, type_ = "true or false", (bool,), kind
    elif pa.types.is_string(kind) or (
        pa.types.is_list(kind) and pa.types.is_string(kind.value_type)
    ):
        wanted, fits, type_ = "a string", (str,), pa.string()
    else:
        raise FilterError(f"{name} is a column of {kind}, which cannot be compared")
    for value in given:
        if not isinstance(value, fits) or (isinstance(value, bool) and bool not in fits):
            shown = orjson.dumps(value).decode()
            raise FilterError(f"{name} is compared with {wanted}, {shown} is none")
    try:
        return pa.array(given, type_)
    except (pa.ArrowInvalid, OverflowError):
        raise FilterError(f"{name} is compared with a number that is too large") from None


def _has_any(column: pa.ChunkedArray, values: pa.Array) -> Mask:
    """Rows whose list has one of the values."""
    lists = column.combine_chunks()
    matches = pc.is_in(pc.list_flatten(lists), value_set=values).to_numpy(zero_copy_only=False)
    mask = np.zeros(len(lists), np.bool_)
    mask[pc.list_parent_indices(lists).to_numpy()[matches]] = True
    return mask
