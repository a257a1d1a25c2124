"""Filters, changes and JSON of a column of every Arrow type, compared with plain Python."""

import operator
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from bundle.catalogue.catalogue import Catalogue
from bundle.catalogue.comparison import FilterError
from bundle.catalogue.overlay import ItemChange, column_values
from bundle.errors import BundleError, InputError
from bundle.format.reader import Bundle
from bundle.search.options import OptionError, RankingOptions, search_options
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.data.column_types import typed_columns, typed_table
from tests.support.data.item_changes import overlay_of

CASES = 4_000
COLUMNS = typed_columns()
COMPARED = {name: column for name, column in COLUMNS.items() if column.values is not None}
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = ["0", "-0", "0.1", "1", "7", "-1.5", "1e0", "15e-1", "1e300", "-1e300", "1e-300", "0.10"]
NUMBERS += ["9007199254740993", "9007199254740993.0", "18446744073709551615", "1.7e18", "65504"]
NUMBERS += ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "127", "1" * 300]
NUMBERS += ["1700000000.123456789", "0.00000000010", "99999999.99", "9" * 76, "86400"]
MOMENTS = ["1970-01-01", "2022-01-08", "2022-01-08T00:00:00+00:00", "2022-01-08T01:00:00+01:00"]
MOMENTS += ["2023-11-14T22:13:20.123456789Z", "1970-01-01 00:00:01", "0001-01-01", "9999-12-31"]
MOMENTS += ["2001-09-09T01:46:40", "1970-01-01T00:00:00.0000000010", "2022-01-08T12:00"]
TIMES = ["00:00", "00:00:01", "12:00:00", "23:59:59", "00:00:07.000000001", "00:00:59.001"]
TEXTS = ["a", "b", "", 'q"uo', "ü", "5", "2026-01-31", "no such"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with a column of every type."""
    store = BundleStore(tmp_path_factory.mktemp("store"))
    contents = make_contents(30, 40, 8, rng=np.random.default_rng(0))
    store.publish(replace(contents, item_table=typed_table(contents.items.ids)))
    return store.load()


def quantity(column: str, text: str) -> Fraction | float | str | bool:
    """A literal as plain Python has it."""
    kind = COLUMNS[column].array.type
    inner = kind.value_type if "list" in column else kind
    if text in ("true", "false"):
        return text == "true"
    if not text.startswith('"'):
        if not pa.types.is_floating(inner):
            return Fraction(text)
        with np.errstate(over="ignore"):
            return float(_width(inner)(text))
    value: str = orjson.loads(text)
    if column.startswith("time_"):
        hours, minutes, seconds = (value + ":00")[: max(8, len(value))].split(":")
        return Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
    if "date" in column or "timestamp" in column:
        whole, _, digits = value.rstrip("Z").partition(".")
        moment = datetime.fromisoformat(whole)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return (moment - epoch) // timedelta(seconds=1) + Fraction(f"0.{digits or 0}")
    return value


def _width(kind: pa.DataType) -> type[np.floating[Any]]:
    return np.float64 if pa.types.is_float64(kind) else np.float32


def is_ordered(column: str) -> bool:
    words = ("int", "uint", "float", "decimal", "date", "time", "duration")
    return column.startswith(words) and "list" not in column and column != "interval"


def literals(column: str) -> list[str]:
    if "date" in column or "timestamp" in column:
        return [f'"{text}"' for text in MOMENTS]
    if column.startswith("time_"):
        return [f'"{text}"' for text in TIMES]
    if "bool" in column:
        return ["true", "false"]
    if is_ordered(column) or column == "list_of_floats":
        return NUMBERS
    return [orjson.dumps(text).decode() for text in TEXTS]


def holds(value: Any, sign: str, wanted: Any) -> bool:
    """The meaning of a comparison, for a value or a list."""
    if value is None:
        return False
    if isinstance(value, list):
        return (wanted in value) == (sign == "=")
    return OPERATORS[sign](value, wanted)


def a_condition(rng: random.Random) -> tuple[str, list[bool]]:
    """A random condition that fits its column, and what it gives for the 10 rows."""
    name = rng.choice(list(COMPARED))
    values = COMPARED[name].values
    assert values is not None
    match rng.randrange(8):
        case 0:
            return f"{name} is null", [value is None for value in values]
        case 1:
            return f"{name} is not null", [value is not None for value in values]
        case 2 | 3:
            texts = rng.choices(literals(name), k=rng.randrange(1, 5))
            several = [quantity(name, text) for text in texts]
            expected = [any(holds(value, "=", one) for one in several) for value in values]
            return f"{name} in [{', '.join(texts)}]", expected
        case _:
            sign = rng.choice(list(OPERATORS) if is_ordered(name) else ["=", "!="])
            text = rng.choice(literals(name))
            wanted = quantity(name, text)
            return f"{name} {sign} {text}", [holds(value, sign, wanted) for value in values]


def test_every_comparison_agrees_with_python(bundle: Bundle) -> None:
    rng, catalogue = random.Random(0), Catalogue(bundle)
    for _ in range(CASES):
        text, expected = a_condition(rng)
        if rng.random() < 0.3:
            other, others = a_condition(rng)
            text = f"not ({text}) or {other}"
            expected = [not one or two for one, two in zip(expected, others, strict=True)]
        found = np.isin(np.arange(40), catalogue.allowed(text)).tolist()
        assert found == expected * 4, text


def test_any_value_on_any_column_is_answered_or_refused(bundle: Bundle) -> None:
    """Nothing but an error of the request comes out of a filter or boosts, changed items or not."""
    rng = random.Random(1)
    everything = [*NUMBERS, *(f'"{text}"' for text in (*MOMENTS, *TIMES, "x", "24:00", "1e5"))]
    everything += ["true", "false", "1e999999999", "1e-999999999", "9" * 300, "9" * 310]
    everything += ['"' + "9" * 300 + '"']
    changes = [
        ItemChange(f"item-{row}", columns=columns, features=None)
        for row, columns in enumerate([{}, {"int64": 2**63 - 1}, {"string": "x"}, None])
    ]
    new = ItemChange("new", features={"text": np.ones(4, np.float32)})
    old = ItemChange("item-9", features={"text": np.ones(4, np.float32)})
    vectors = {change.item_id: np.ones(8, np.float32) for change in (new, old)}
    recommender = Recommender(bundle, overlay_of(bundle, [*changes, new, old], vectors))
    answered = refused = 0
    for _ in range(CASES):
        name = rng.choice(list(COLUMNS))
        values = rng.choices(everything, k=rng.randrange(1, 4))
        text = f"{name} {rng.choice(list(OPERATORS))} {values[0]}"
        if rng.random() < 0.4:
            text = f"{name} in [{', '.join(values)}]"
        if rng.random() < 0.1:
            text = f"not {name} is null"
        is_boost = len(text) < 900 and rng.random() < 0.3
        try:
            options = (
                RankingOptions(boost=[f"0.5:{text}"]) if is_boost else RankingOptions(filter=text)
            )
            resolved = search_options(recommender.catalogue, options, 5)
        except OptionError:
            refused += 1
            continue
        answered += 1
        if answered % 10 == 0:
            recommender.run(np.ones(8, np.float32), resolved)
    assert min(answered, refused) > CASES / 5


@pytest.mark.parametrize("name", COLUMNS)
def test_what_an_item_shows_can_be_stored_again(bundle: Bundle, name: str) -> None:
    catalogue = Catalogue(bundle)
    column = COLUMNS[name]
    for row in range(10):
        shown = catalogue.columns(row)[name]
        orjson.dumps(shown, default=str)
        in_json = orjson.loads(orjson.dumps(shown, default=str))
        if in_json is None or (isinstance(in_json, str) and in_json.startswith("<")):
            continue
        if column.values is None:
            with pytest.raises(InputError, match=f"^{name}: .* does not fit the column's type"):
                column_values(bundle.item_table.schema, {name: in_json})
            continue
        stored = column_values(bundle.item_table.schema, {name: in_json})
        assert stored == {name: in_json}
        overlay = overlay_of(bundle, [ItemChange("item-9", columns=stored)], {})
        assert overlay.table[name][0] == bundle.item_table[name][row]


def test_items_keep_their_columns_exactly_with_new_features(bundle: Bundle) -> None:
    changes = [ItemChange(f"item-{n}", features={"text": np.ones(4, np.float32)}) for n in range(9)]
    vectors = {change.item_id: np.ones(8, np.float32) for change in changes}
    catalogue = Catalogue(bundle, overlay_of(bundle, changes, vectors))
    for row in range(9):
        moved = catalogue.get(f"item-{row}")
        assert moved is not None and moved >= 40
        assert str(catalogue.columns(moved)) == str(catalogue.columns(row))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uint8", 256),
        ("uint64", -1),
        ("uint64", 2**64),
        ("int64", "5"),
        ("int64", 1.5),
        ("float32", 1e300),
        ("float16", float("nan")),
        ("decimal128", "1.00000000001"),
        ("decimal128", "1_0"),
        ("decimal128", " 1"),
        ("decimal128", "NaN"),
        ("decimal128", "1e999999999"),
        ("decimal256", "9" * 76),
        ("date32", "2026-01-31T12:00"),
        ("date64", "2026-01-31T12:00"),
        ("date32", "31.1.2026"),
        ("date32", 5),
        ("time_s", "10:00:00.5"),
        ("time_s", "10:00+01:00"),
        ("time_s", "2026-01-31"),
        ("timestamp_ms", "2026-01-31T10:00:00.0001"),
        ("timestamp_ns", "9999-01-01"),
        ("duration_s", 0.5),
        ("duration_s", "1 day"),
        ("list_of_dates", ["2026-01-32"]),
        ("list_of_bools", [1]),
        ("list", "a"),
        ("bool", "true"),
        ("struct", {"a": None, "b": [1]}),
    ],
)
def test_values_that_would_be_rounded_or_cut_are_refused(
    bundle: Bundle, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=f"^{name}: .* does not fit the column's type"):
        column_values(bundle.item_table.schema, {name: value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date32 < 5", 'date32 must be compared with a date such as "2026-01-31"'),
        ('date32 < "x"', 'not with "x"'),
        ('time_s = "2026-01-31"', 'time_s must be compared with a time such as "09:30:00"'),
        ('time_s = "09:30Z"', "must be compared with a time"),
        ('decimal128 = "5"', 'decimal128 must be compared with a number, not with "5"'),
        ("int8 < 1e400", "1e400: number out of range"),
        ("int8 < 1e999999999", "number out of range"),
        ("list_of_floats > 1", "list_of_floats has no order"),
        ("binary = 5", "binary has the type binary, which cannot be compared"),
        ("nested = 5", "which cannot be compared"),
    ],
)
def test_comparisons_that_do_not_fit_are_refused(bundle: Bundle, text: str, message: str) -> None:
    with pytest.raises(FilterError) as refused:
        Catalogue(bundle).allowed(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (
            pa.Array.from_buffers(
                pa.string(),
                2,
                [None, pa.py_buffer(np.array([0, 1, 2], "<i4")), pa.py_buffer(b"\xffa")],
            ),
            "Invalid UTF8",
        ),
        (pa.array(["x", "y"]), "column 'title' occurs twice"),
    ],
)
def test_a_damaged_item_table_is_refused_at_the_start(
    tmp_path: Path, column: pa.Array, reason: str
) -> None:
    contents = make_contents(5, 2, 8, rng=np.random.default_rng(0))
    table = contents.item_table.append_column("title", column)
    if reason == "Invalid UTF8":
        table = contents.item_table.set_column(1, "title", column)
    with pytest.raises(BundleError, match=f"items.arrow: .*{reason}"):
        BundleStore(tmp_path).publish(replace(contents, item_table=table))
