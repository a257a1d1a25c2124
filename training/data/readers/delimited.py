"""Comma- and tab-separated files: reading with Arrow, and locating errors by line."""

import csv
import mmap
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

_VALUE = re.compile(r"In CSV column #(\d+): Row #(\d+):.*?(?:invalid value '(.*)')?$", re.DOTALL)
_SHAPE = re.compile(r"CSV parse error: Row #(\d+): Expected (\d+) columns?, got (\d+)")
_QUOTED = rb'"(?:[^"]++|"")*+"'
_FIELD = rb"(?:" + _QUOTED + rb'|[^",\r\n][^,\r\n]*+)?+'
_FIELDS = re.compile(rb"(?:" + _FIELD + rb"[,\r\n])*+")
_LAST = re.compile(rb"(?:" + _FIELD + rb")\Z")


@dataclass(frozen=True)
class ParseProblem:
    """An error in a text file, with line and column if known."""

    what: str
    line: int | None = None
    column: str | None = None


class QuoteError(ValueError):
    """A quote that readers would repair, each in another way: `problem` says where."""

    def __init__(self, problem: ParseProblem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def header(path: Path, tabs: bool) -> list[str]:
    """Column names, [] for an empty file.

    Raises:
        QuoteError: anywhere in the file, a quoted field does not end with its closing quote.
    """
    names = next((record for _, record in _records(path, tabs)), [])
    if names and not tabs:
        _check_quotes(path)
    return names


def _check_quotes(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if text.find(b'"') < 0:
            return
        fields = _FIELDS.match(text, len(BOM_UTF8) if text[:3] == BOM_UTF8 else 0)
        begin = fields.end() if fields else 0
        if _LAST.match(text, begin):
            return

        def line(end: int) -> int:
            return 1 + len(re.findall(rb"\r\n?|\n", text[:end]))

        what = "a quoted field begins here that is never closed"
        if closed := re.compile(_QUOTED).match(text, begin):
            what = (
                f"a quoted field begins here, and text follows its quote in line"
                f" {line(closed.end())} (quotes within a field are written twice)"
            )
        raise QuoteError(ParseProblem(what, line(begin)))


def read(path: Path, tabs: bool, types: Mapping[str, pa.DataType], columns: list[str]) -> pa.Table:
    """Read the named columns; empty fields become null; types not given are inferred."""
    return pyarrow.csv.read_csv(
        path,
        # Arrow numbers rows in errors only when reading with one thread, and infers types from the
        # first block, so the whole file is one block.
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
    """Line on which data row `row` (from 0) begins, None if unknown."""
    try:
        return next((line for line, _ in islice(_records(path, tabs), row + 1, None)), None)
    except csv.Error:  # a field longer than Python's parser accepts
        return None


def explain(path: Path, tabs: bool, error: Exception) -> ParseProblem:
    """Explain an error of Arrow's or Python's reader."""
    if isinstance(error, QuoteError):
        return error.problem
    message = str(error)
    if found := _VALUE.match(message):
        column, row, value = int(found[1]), int(found[2]) - 2, found[3]
        what = "the value cannot be read" if value is None else f"{value!r} is not a number"
        return ParseProblem(what, line_of_row(path, tabs, row), header(path, tabs)[column])
    if found := _SHAPE.match(message):
        line = line_of_row(path, tabs, int(found[1]) - 2)
        return ParseProblem(f"{found[3]} fields where the header has {found[2]}", line)
    return ParseProblem(
        f"cannot be read as {'tab' if tabs else 'comma'}-separated text ({message})"
    )


def _records(path: Path, tabs: bool) -> Iterator[tuple[int, list[str]]]:
    """First line and fields of each record, header included, empty lines skipped."""
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
