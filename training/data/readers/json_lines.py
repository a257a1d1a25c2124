"""JSON lines: reading with Arrow, and locating errors by line."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from training.data.readers.delimited import ParseProblem


def read(path: Path) -> pa.Table:
    """Read all columns: the keys of all objects, in the order in which they first occur.

    Types are those of the values; texts that look like dates stay texts.
    """
    table = _parsed(path, None)
    texts = [f for f in table.schema if _as_text(f.type) != f.type]
    if texts:
        schema = pa.schema([(field.name, _as_text(field.type)) for field in texts])
        table = _parsed(path, schema).select(table.column_names)
    return table


def _parsed(path: Path, schema: pa.Schema | None) -> pa.Table:
    return pyarrow.json.read_json(
        path,
        # One block: types are inferred from all rows, and no row spans two blocks.
        pyarrow.json.ReadOptions(
            use_threads=False, block_size=min(path.stat().st_size + 1, 2**31 - 1)
        ),
        pyarrow.json.ParseOptions(explicit_schema=schema),
    )


def _as_text(kind: pa.DataType) -> pa.DataType:
    """The type with text in place of dates and times, in lists, too."""
    if pa.types.is_list(kind):
        return pa.list_(_as_text(kind.value_type))
    return pa.string() if pa.types.is_temporal(kind) else kind


def line_of_row(path: Path, row: int) -> int | None:
    """Line of data row `row` (from 0), None if unknown."""
    return next((line for line, _ in islice(_lines(path), row, None)), None)


def explain(path: Path, error: Exception) -> ParseProblem:
    """Explain an error of Arrow's or Python's reader: find the first invalid line."""
    kinds: dict[str, str] = {}
    for line, text in _lines(path):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            return ParseProblem("is not valid JSON", line)
        if not isinstance(record, dict):
            return ParseProblem("is not a JSON object", line)
        for column, value in record.items():
            elements = value if isinstance(value, list) else []
            for key, part in [(column, value), *((f"{column}[]", e) for e in elements)]:
                kind = _kind(part)
                first = kinds.setdefault(key, kind)
                if first == "null":
                    kinds[key] = kind
                elif kind not in (first, "null"):
                    return ParseProblem(f"{kind}, but {first} is expected", line, column)
    return ParseProblem(f"cannot be read as JSON lines ({str(error).splitlines()[0]})")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each non-blank line."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
