"""JSON lines: reading by Arrow, and the line on which something is wrong."""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from training.reading.delimited import Mistake


def header(path: Path) -> list[str]:
    """Keys of the first object, [] if the file is empty.

    Raises:
        ValueError: the first line is not a JSON object.
    """
    return list(_first(path))


def read(path: Path, types: Mapping[str, pa.DataType]) -> pa.Table:
    """All columns; `types` holds for columns of the first object, the others are inferred.

    Where a string is wanted and the first object has something else (an integer as an id), the
    column keeps its own type and the caller decides.
    """
    schema = {}
    for name, value in _first(path).items():
        if isinstance(value, str):
            schema[name] = pa.string()
        elif name in types and (value is None or types[name] != pa.string()):
            schema[name] = types[name]
        elif name in types and type(value) is int:
            schema[name] = pa.int64()  # or an integer beyond 64 bits would be rounded
    table = pyarrow.json.read_json(
        path,
        # One block: a type is inferred from all rows and no row straddles two blocks.
        pyarrow.json.ReadOptions(
            use_threads=False, block_size=min(path.stat().st_size + 1, 2**31 - 1)
        ),
        pyarrow.json.ParseOptions(explicit_schema=pa.schema(list(schema.items()))),
    )
    # Arrow puts the columns of the schema first; the file's order is what the other formats have.
    first = header(path)
    return table.select([*first, *(c for c in table.column_names if c not in first)])


def line_of_row(path: Path, row: int) -> int | None:
    """The line of data row `row` (from 0); None if it cannot be found."""
    return next((line for line, _ in islice(_lines(path), row, None)), None)


def mistake(path: Path, types: Mapping[str, pa.DataType], error: Exception) -> Mistake:
    """What an error of Arrow's reader or Python's means: the first line that breaks a rule."""
    kinds: dict[str, str] = {}
    for line, text in _lines(path):
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            return Mistake("not valid JSON", line)
        if not isinstance(record, dict):
            return Mistake("not a JSON object", line)
        for column, value in record.items():
            elements = value if isinstance(value, list) else []
            for key, part in [(column, value), *((f"{column}[]", e) for e in elements)]:
                kind = _kind(part)
                # Numbers are what a numeric column may hold, whatever comes first.
                first = kinds.setdefault(key, "a number" if _numeric(types, key) else kind)
                if first == "null":
                    kinds[key] = kind
                elif kind not in (first, "null"):
                    return Mistake(f"{kind} where {first} is expected", line, column)
    return Mistake(f"cannot be read as JSON lines ({str(error).splitlines()[0]})")


def _numeric(types: Mapping[str, pa.DataType], column: str) -> bool:
    return column in types and pa.types.is_floating(types[column])


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


def _first(path: Path) -> dict[str, Any]:
    for _, text in _lines(path):
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        return record
    return {}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
