"""Comma- and tab-separated files: reading by Arrow, and the line on which something is wrong."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

_VALUE = re.compile(r"In CSV column #(\d+): Row #(\d+):.*?(?:invalid value '(.*)')?$", re.DOTALL)
_SHAPE = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns?, got (\d+)")


@dataclass(frozen=True)
class Mistake:
    """What is wrong in a text file and, where known, on which line and in which column."""

    what: str
    line: int | None = None
    column: str | None = None


def header(path: Path, tabs: bool) -> list[str]:
    """The column names, [] if the file is empty."""
    return next((record for _, record in _records(path, tabs)), [])


def read(path: Path, tabs: bool, types: Mapping[str, pa.DataType], columns: list[str]) -> pa.Table:
    """The named columns; an empty field is null; types not given are inferred."""
    return pyarrow.csv.read_csv(
        path,
        # Rows are numbered in messages only when one thread reads, and one block means that a
        # type is inferred from all rows.
        pyarrow.csv.ReadOptions(
            use_threads=False, block_size=min(path.stat().st_size + 1, 2**31 - 1)
        ),
        pyarrow.csv.ParseOptions(
            delimiter="\t" if tabs else ",",
            quote_char=False if tabs else '"',
            newlines_in_values=not tabs,
        ),
        pyarrow.csv.ConvertOptions(
            column_types=dict(types),
            include_columns=columns,
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def line_of_row(path: Path, tabs: bool, row: int) -> int | None:
    """The line on which data row `row` (from 0) begins; None if it cannot be found."""
    try:
        return next((line for line, _ in islice(_records(path, tabs), row + 1, None)), None)
    except csv.Error:  # a field beyond the limit of Python's parser
        return None


def mistake(path: Path, tabs: bool, error: Exception) -> Mistake:
    """What an error of Arrow's reader or Python's means."""
    message = str(error)
    if found := _VALUE.match(message):
        column, row, value = int(found[1]), int(found[2]) - 2, found[3]
        what = "the value cannot be read" if value is None else f"{value!r} is not a number"
        return Mistake(what, line_of_row(path, tabs, row), header(path, tabs)[column])
    if found := _SHAPE.match(message):
        line = line_of_row(path, tabs, int(found[1]) - 2)
        return Mistake(f"{found[3]} fields where the header has {found[2]}", line)
    return Mistake(f"cannot be read as {'tab' if tabs else 'comma'}-separated text ({message})")


def _records(path: Path, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    """First line and fields of each record, the header first, empty lines left out."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(
            file,
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        )
        line = 1
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
