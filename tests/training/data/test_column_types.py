"""Item columns of every type that Parquet keeps: taken, or named as left out."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.data.column_types import typed_columns
from training.data.readers.items import read_items
from training.data.readers.table_file import TableFile


def test_columns_are_taken_or_named(tmp_path: Path) -> None:
    kept: dict[str, pa.Array] = {"item_id": pa.array([f"i{n}" for n in range(10)])}
    given = typed_columns()
    for name, column in given.items():
        try:
            pq.write_table(pa.table({name: column.array}), tmp_path / "one.parquet")
        except (pa.ArrowException, ValueError, OSError):
            continue  # Parquet has no such type
        kept[name] = column.array
    assert len(kept) > 50
    pq.write_table(pa.table(kept), tmp_path / "items.parquet")
    notes: list[str] = []
    found = read_items(TableFile(tmp_path / "items.parquet"), ("item_id",), notes)
    taken = set(found.table.column_names)
    named = {name for note in notes for name in note.partition("type: ")[2].split(", ")}
    assert taken | named == kept.keys() and not taken & named
    assert named == {name for name in kept if name != "item_id" and given[name].values is None}
