"""Item filters: a small expression language over the columns of the item table.

    category = "shoes" and price < 50 and not (brand in ["x", "y"] or colour is null)

Columns hold strings, numbers, booleans, dates and times, or lists of these (`values`). A list
equals every value that it contains. A comparison with a missing value is false, so its negation is
true; NaN is a missing value. Filters come from clients: they are parsed by this grammar and never
evaluated as code.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast

import numpy as np
import orjson
import pyarrow as pa
from lark import Lark, Token, Transformer_NonRecursive, Tree, UnexpectedInput, UnexpectedToken
from lark.exceptions import VisitError

from bundle.catalogue.comparison import Column, FilterError, Literal
from bundle.format.item_table import plain_column
from bundle.types import Mask, Rows

MAX_LENGTH = 1000
"""Maximum length of a filter, in characters: bounds the time of parsing."""
MAX_DEPTH = 20
"""Maximum nesting of parentheses and `not`: no sensible filter comes near it."""
KEPT = 64
"""Number of filters whose result is cached, 4 MB each at most for a million items."""

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


class ItemFilters:
    """Filters over one item table, with a cache of their results.

    Args:
        table: the items in item_idx order.
    """

    def __init__(self, table: pa.Table) -> None:
        @lru_cache(KEPT)
        def allowed(text: str) -> Rows:
            return np.flatnonzero(_mask(text, table)).astype(np.int32)

        self._allowed = allowed

    def allowed(self, text: str) -> Rows:
        """item_idx that match a filter, ascending. The array must not be changed.

        Raises:
            FilterError: the filter has a syntax error, or does not fit the columns.
        """
        return self._allowed(text)


def _mask(text: str, table: pa.Table) -> Mask:
    if len(text) > MAX_LENGTH:
        raise FilterError(f"longer than {MAX_LENGTH} characters")
    try:
        tree = _GRAMMAR.parse(text)
        _check_depth(tree)
        return _Evaluation(table).transform(tree)
    except UnexpectedInput as error:
        at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        where = "at the end" if at_end else f"at character {(error.pos_in_stream or 0) + 1}"
        raise FilterError(f"syntax error {where}") from error
    except VisitError as error:
        raise error.orig_exc from error


def _check_depth(tree: Tree[Token]) -> None:
    level, depth = [tree], -1  # the outermost `either` does not count
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise FilterError(f"more than {MAX_DEPTH} nested parentheses and `not`")
        level = [inner for node in level for inner in _nested(node)]


def _nested(node: Tree[Token]) -> Iterator[Tree[Token]]:
    """The outermost parentheses and `not` below a node."""
    for child in node.children:
        if isinstance(child, Tree):
            if child.data in ("either", "negation"):
                yield child
            else:
                yield from _nested(child)


class _Evaluation(Transformer_NonRecursive[Token, Mask]):
    """Evaluates a syntax tree from the leaves up; each node becomes a mask [I]."""

    def __init__(self, table: pa.Table) -> None:
        super().__init__()
        self._columns = table

    def either(self, masks: list[Mask]) -> Mask:
        return cast(Mask, np.logical_or.reduce(masks))

    def both(self, masks: list[Mask]) -> Mask:
        return cast(Mask, np.logical_and.reduce(masks))

    def negation(self, masks: list[Mask]) -> Mask:
        return ~masks[0]

    def value(self, tokens: list[Token]) -> Literal:
        text = str(tokens[0])
        if tokens[0].type == "NUMBER":
            return Literal(text, None)
        try:
            return Literal(text, orjson.loads(text.encode()))
        except orjson.JSONDecodeError:
            raise FilterError(f"{text} is not a JSON value") from None

    def missing(self, tokens: list[Token]) -> Mask:
        return self._column(tokens[0]).missing

    def given(self, tokens: list[Token]) -> Mask:
        return ~self.missing(tokens)

    def comparison(self, parts: list[Any]) -> Mask:
        token, operator, literal = parts
        column = self._column(token)
        if operator == "=":
            return column.equals([literal])
        if operator == "!=":
            return ~column.equals([literal]) & ~column.missing
        return column.compares(operator, literal)

    def membership(self, parts: list[Any]) -> Mask:
        return self._column(parts[0]).equals(parts[1:])

    def _column(self, token: Token) -> Column:
        name = token.strip("`")
        if name not in self._columns.column_names:
            known = ", ".join(self._columns.column_names)
            raise FilterError(f"no column {name}; the columns are {known}")
        return Column(name, plain_column(self._columns[name]))
