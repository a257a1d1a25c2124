"""Table files (CSV, tab-separated, JSON lines or Parquet) as Arrow tables.

Every error becomes an `InputError` of one sentence that names the file, the place (a line of a text
file, a row from 0 of a Parquet file) and the column.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from bundle.errors import InputError
from training.data.readers import delimited
from training.data.readers import json_lines as json

KINDS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".inter": "tsv", ".item": "tsv"}
"""Format by file name suffix."""

TABLE_SUFFIXES = (".parquet", ".csv", ".jsonl")

LONGEST_REASON = 300
"""Maximum length of an error's reason, in characters; it may quote a binary file."""

_UNREADABLE = (ValueError, OSError, csv.Error, pa.ArrowException)


class TableFile:
    """A table file: reads rows and locates errors.

    Attributes:
        path: the file; its suffix (a key of `KINDS`) defines the format.
        name: name of the file, for error messages.
        kind: its format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.kind = KINDS[path.suffix]
        self._names: list[str] | None = None
        self._json: pa.Table | None = None  # read for its names, not yet for its rows

    def error(self, what: str, row: int | None = None, column: str | None = None) -> InputError:
        """Error that names this file, the line or number of data row `row` (from 0), the column."""
        if row is None or self.kind == "parquet":
            place = None if row is None else f"row {row} (from 0)"
            return file_error(self.name, what, place, column)
        line = (
            json.line_of_row(self.path, row)
            if self.kind == "jsonl"
            else delimited.line_of_row(self.path, self.kind == "tsv", row)
        )
        place = f"line {line}" if line is not None else f"row {row} (from 0)"
        return file_error(self.name, what, place, column)

    def missing(self, column: str) -> InputError:
        """Error about a missing column that lists the existing ones."""
        names = [repr(name) if name != name.strip() else name for name in self.header()]
        return self.error(f"is missing (columns: {', '.join(names)})", column=column)

    def header(self) -> list[str]:
        """Column names; of JSON lines, the keys of all objects.

        Raises:
            InputError: the file is empty or unreadable, or a column name occurs twice.
        """
        if self._names is None:
            self._names = self._header()
        return self._names

    def _header(self) -> list[str]:
        try:
            match self.kind:
                case "parquet":
                    with pyarrow.parquet.ParquetFile(self.path) as file:
                        names = list(file.schema_arrow.names)
                case "jsonl":
                    self._json = json.read(self.path)  # only the whole file has all keys
                    names = self._json.column_names
                case _:
                    names = delimited.header(self.path, self.kind == "tsv")
        except _UNREADABLE as error:
            raise self._explained(error) from error
        if not names:
            raise self.error("the file is empty")
        for name in names:
            if names.count(name) > 1:
                raise self.error("occurs twice in the header", column=name)
        return names

    def read(
        self, types: Mapping[str, pa.DataType], only: bool = False, *, may_be_empty: bool = False
    ) -> pa.Table:
        """Read all rows.

        Args:
            types: types of columns in CSV, string or float64. Columns not named here, Parquet files
                and JSON lines have their own types.
            only: read the columns in `types` only.
            may_be_empty: accept a table without rows.

        Raises:
            InputError: the file is empty, unreadable or not UTF-8, or a value has another type.
        """
        wanted = [name for name in self.header() if name in types or not only]
        try:
            table = self._read(types, wanted)
            # Values that look like dates stay text, so that all formats give the same.
            dates = {f.name: pa.string() for f in table.schema if pa.types.is_temporal(f.type)}
            if dates and self.kind != "parquet":
                table = self._read({**types, **dates}, wanted)
            table.validate(full=True)
        except _UNREADABLE as error:
            raise self._explained(error) from error
        if not table.num_rows and not may_be_empty:
            raise self.error("has no rows")
        return table.select([c for c in table.column_names if c in types]) if only else table

    def columns(self, types: Mapping[str, pa.DataType]) -> Callable[[str], pa.Table]:
        """Reader of one column of `types` after the other, which keeps none that it has returned.

        Of a Parquet file only that column is in memory. Errors are those of `read`.
        """
        if self.kind == "parquet":
            return lambda name: self.read({name: types[name]}, only=True)
        table = self.read(types, only=True)

        def taken(name: str) -> pa.Table:
            nonlocal table
            column, table = table.select([name]), table.drop_columns([name])
            return column

        return taken

    def _read(self, types: Mapping[str, pa.DataType], columns: list[str]) -> pa.Table:
        match self.kind:
            case "parquet":
                with pyarrow.parquet.ParquetFile(self.path) as file:
                    return file.read(columns)
            case "jsonl":
                table, self._json = self._json, None
                return json.read(self.path) if table is None else table
            case _:
                typed = {name: types[name] for name in columns if name in types}
                return delimited.read(self.path, self.kind == "tsv", typed, columns)

    def _explained(self, error: Exception) -> InputError:
        """The `InputError` for an exception of a reader."""
        if isinstance(error, OSError) and error.errno is not None:
            return file_error(self.name, f"cannot be read ({error.strerror})")
        if self.kind == "parquet":
            return file_error(self.name, "is not a readable Parquet file")
        if (line := first_line_not_utf8(self.path)) is not None:
            return file_error(self.name, "is not UTF-8 text", f"line {line}")
        mistake = (
            json.explain(self.path, error)
            if self.kind == "jsonl"
            else delimited.explain(self.path, self.kind == "tsv", error)
        )
        place = None if mistake.line is None else f"line {mistake.line}"
        return file_error(self.name, mistake.what, place, mistake.column)


def file_error(
    name: str, what: str, place: str | None = None, column: str | None = None
) -> InputError:
    """Error "name, place, column 'c': what", on one line of bounded length."""
    parts = [name, place, None if column is None else f"column {column!r}"]
    what = " ".join(what.split())  # it may quote a damaged file
    if len(what) > LONGEST_REASON:
        what = f"{what[:LONGEST_REASON]}…"
    return InputError(f"{', '.join(p for p in parts if p is not None)}: {what}")


def first_line_not_utf8(path: Path) -> int | None:
    """Number of the first line that is not UTF-8, None if all are."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
