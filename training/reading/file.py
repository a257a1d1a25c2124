"""One file of rows (CSV, tab-separated, JSON lines or Parquet) as an Arrow table.

Whatever is wrong with a file becomes an `InputError` of one sentence that names the file, the
place (a line of a text file, a row counted from 0 of a Parquet file) and the column.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from bundle.errors import InputError
from training.reading import delimited, json

KINDS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".inter": "tsv", ".item": "tsv"}
"""Format of each suffix."""

TABLE_SUFFIXES = (".parquet", ".csv", ".jsonl")

LONGEST_REASON = 300
"""Characters of a message after the place, so that a binary file is not quoted as a whole."""

_UNREADABLE = (ValueError, OSError, csv.Error, pa.ArrowException)


class Source:
    """A file of rows that knows how to read itself and how to name a place in itself.

    Attributes:
        path: the file; its suffix (one of `KINDS`) says the format.
        name: its name, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.kind = KINDS[path.suffix]

    def error(self, what: str, row: int | None = None, column: str | None = None) -> InputError:
        """An error that names this file, the place of data row `row` (from 0) and the column."""
        if row is None or self.kind == "parquet":
            place = None if row is None else f"row {row} (from 0)"
            return located(self.name, what, place, column)
        line = (
            json.line_of_row(self.path, row)
            if self.kind == "jsonl"
            else delimited.line_of_row(self.path, self.kind == "tsv", row)
        )
        place = f"line {line}" if line is not None else f"row {row} (from 0)"
        return located(self.name, what, place, column)

    def missing(self, column: str) -> InputError:
        """An error that says that a column is not there, and which ones are."""
        return self.error(f"is missing (there are: {', '.join(self.header())})", column=column)

    def header(self) -> list[str]:
        """Column names, of JSON lines those of the first object.

        Raises:
            InputError: the file is empty, unreadable or names a column twice.
        """
        try:
            match self.kind:
                case "parquet":
                    with pyarrow.parquet.ParquetFile(self.path) as file:
                        names = list(file.schema_arrow.names)
                case "jsonl":
                    names = json.header(self.path)
                case _:
                    names = delimited.header(self.path, self.kind == "tsv")
        except _UNREADABLE as error:
            raise self._explained(error, {}) from error
        if not names:
            raise self.error("the file is empty")
        for name in names:
            if names.count(name) > 1:
                raise self.error("occurs twice in the header", column=name)
        return names

    def read(self, types: Mapping[str, pa.DataType], only: bool = False) -> pa.Table:
        """All rows, at least one.

        Args:
            types: wanted types of some columns of a text file, string or float64. Parquet and the
                columns not named keep their own, and so does an id that JSON writes as an integer.
            only: leave out the columns that `types` does not name.

        Raises:
            InputError: the file is empty, unreadable, not UTF-8, or a value is not of its type.
        """
        wanted = [name for name in self.header() if name in types or not only]
        try:
            table = self._read(types, wanted)
            # What merely looks like a date stays text, so that the formats agree.
            dates = {f.name: pa.string() for f in table.schema if pa.types.is_temporal(f.type)}
            if dates and self.kind != "parquet":
                table = self._read({**types, **dates}, wanted)
            table.validate(full=True)
        except _UNREADABLE as error:
            raise self._explained(error, types) from error
        if not table.num_rows:
            raise self.error("there are no rows")
        return table.select([c for c in table.column_names if c in types]) if only else table

    def _read(self, types: Mapping[str, pa.DataType], columns: list[str]) -> pa.Table:
        match self.kind:
            case "parquet":
                with pyarrow.parquet.ParquetFile(self.path) as file:
                    return file.read(columns)
            case "jsonl":
                return json.read(self.path, types)
            case _:
                typed = {name: types[name] for name in columns if name in types}
                return delimited.read(self.path, self.kind == "tsv", typed, columns)

    def _explained(self, error: Exception, types: Mapping[str, pa.DataType]) -> InputError:
        """The sentence for what a reader raised."""
        if isinstance(error, OSError) and error.errno is not None:
            return located(self.name, f"cannot be read ({error.strerror})")
        if self.kind == "parquet":
            return located(self.name, "not a readable Parquet file")
        if (line := first_line_not_utf8(self.path)) is not None:
            return located(self.name, "not UTF-8 text", f"line {line}")
        mistake = (
            json.mistake(self.path, types, error)
            if self.kind == "jsonl"
            else delimited.mistake(self.path, self.kind == "tsv", error)
        )
        place = None if mistake.line is None else f"line {mistake.line}"
        return located(self.name, mistake.what, place, mistake.column)


def located(
    name: str, what: str, place: str | None = None, column: str | None = None
) -> InputError:
    """An error that reads "name, place, column 'c': what", on one line of bounded length."""
    parts = [name, place, None if column is None else f"column {column!r}"]
    what = " ".join(what.split())  # it may quote a damaged file
    if len(what) > LONGEST_REASON:
        what = f"{what[:LONGEST_REASON]}…"
    return InputError(f"{', '.join(p for p in parts if p is not None)}: {what}")


def first_line_not_utf8(path: Path) -> int | None:
    """Number of the first line that does not decode, None if all do."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return None
