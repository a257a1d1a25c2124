"""Filters on item columns, compared with Python on the same rows."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.catalogue.comparison import FilterError
from bundle.catalogue.filters import MAX_DEPTH, ItemFilters

ROWS: list[dict[str, Any]] = [
    {"item_id": "a", "price": 9.5, "stock": 3, "new": True, "brand": "x", "tags": ["red", "big"]},
    {"item_id": "b", "price": 50.0, "stock": 0, "new": False, "brand": "y", "tags": []},
    {"item_id": "c", "price": None, "stock": 7, "new": None, "brand": None, "tags": None},
    {"item_id": "d", "price": 20.0, "stock": -1, "new": True, "brand": 'q"uo', "tags": ["red"]},
]
TABLE = pa.Table.from_pylist(
    ROWS,
    pa.schema(
        [
            ("item_id", pa.string()),
            ("price", pa.float64()),
            ("stock", pa.int64()),
            ("new", pa.bool_()),
            ("brand", pa.string()),
            ("tags", pa.list_(pa.string())),
        ]
    ),
).append_column("two words", pa.array([1, 2, 3, 4]))
FILTERS = ItemFilters(TABLE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('brand = "x"', "a"),
        ('brand != "x"', "bd"),
        ('not brand = "x"', "bcd"),
        ('brand in ["x", "y"]', "ab"),
        ('brand = "q\\"uo"', "d"),
        ("price < 20", "a"),
        ("price <= 20", "ad"),
        ("price > 9.5 and price < 50", "d"),
        ("price >= 1e1", "bd"),
        ("price is null", "c"),
        ("price is not null", "abd"),
        ("stock = 0 or stock = -1", "bd"),
        ("stock = 3.5", ""),
        ("stock in [3, 7.0]", "ac"),
        ("new = true", "ad"),
        ("new != true", "b"),
        ("new in [false]", "b"),
        ('tags = "red"', "ad"),
        ('tags != "red"', "b"),
        ('tags in ["big", "small"]', "a"),
        ("tags is null", "c"),
        ('brand = "x" or brand = "y" and stock = 3', "a"),
        ('(brand = "x" or brand = "y") and stock = 0', "b"),
        ("not not new = true", "ad"),
        ("not (new = true or price is null)", "b"),
        ("`two words` >= 3", "cd"),
        ('item_id in ["a"]\n and\tstock = 3', "a"),
    ],
)
def test_filters_by_hand(text: str, expected: str) -> None:
    assert "".join(str(ROWS[i]["item_id"]) for i in FILTERS.allowed(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "syntax error at the end"),
        ("price <", "syntax error at the end"),
        ("price < 5 price", "syntax error at character 11"),
        ("price < (5)", "syntax error at character 9"),
        ("__import__('os')", "syntax error at character 11"),
        ("order = 5", "no column order; the columns are item_id, price"),
        ('price = "x"', 'price must be compared with a number, not with "x"'),
        ("price = true", "price must be compared with a number, not with true"),
        ("brand = 5", "brand must be compared with a string, not with 5"),
        ("new = 1", "new must be compared with true or false, not with 1"),
        ('brand < "x"', "brand has no order"),
        ('tags > "x"', "tags has no order"),
        ('brand = "\\x"', "is not a JSON value"),
        ("stock = 5 and " * 100 + "stock = 5", "longer than 1000 characters"),
    ],
)
def test_bad_filters_are_refused_with_the_reason_and_position(text: str, message: str) -> None:
    with pytest.raises(FilterError) as refused:
        FILTERS.allowed(text)
    assert message in str(refused.value)


def test_depth_has_a_limit() -> None:
    for opening, closing in (("not ", ""), ("(", ")"), ("(stock = 1 or ", ")")):
        depth = MAX_DEPTH
        assert len(FILTERS.allowed(opening * depth + "stock = 3" + closing * depth)) >= 1
        for depth in (MAX_DEPTH + 1, 60):
            with pytest.raises(FilterError, match="more than 20 nested parentheses"):
                FILTERS.allowed(opening * depth + "stock = 3" + closing * depth)


NUMBERS = st.one_of(
    st.integers(-8, 8), st.floats(-8, 8, allow_nan=False).map(lambda x: round(x, 2))
)
CONDITIONS = st.tuples(
    st.just("stock"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), NUMBERS
)
OPERATORS = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
TREES = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=6,
)


def written(tree: Any) -> str:
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"
    return " ".join(map(str, tree))


def holds(tree: Any, stock: int) -> bool:
    if tree[0] == "not":
        return not holds(tree[1], stock)
    if tree[0] in ("and", "or"):
        both = holds(tree[1], stock), holds(tree[2], stock)
        return all(both) if tree[0] == "and" else any(both)
    return bool(OPERATORS[tree[1]](stock, tree[2]))


@pytest.mark.slow
@given(TREES)
@settings(max_examples=300, deadline=None)
def test_any_filter_agrees_with_python(tree: Any) -> None:
    stocks = list(range(-9, 10))
    filters = ItemFilters(pa.table({"stock": stocks}))
    expected = [i for i, stock in enumerate(stocks) if holds(tree, stock)]
    np.testing.assert_array_equal(filters.allowed(written(tree)), expected)
