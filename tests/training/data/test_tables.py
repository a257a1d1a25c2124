"""Tables as strangers write them: byte order marks, quotes, line ends, missing keys, large ids."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.support.data.datasets import MMREC, write_tables
from training.data.load import read_dataset


def test_parquet_times_become_seconds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array([1, 2]),
            "item_id": pa.array(["a", "b"]).dictionary_encode(),
            "timestamp": pa.array([1_500_000_000_123_456_789, 0], pa.timestamp("ns", "UTC")),
        }
    )
    pa.parquet.write_table(table, tmp_path / "interactions.parquet")
    data = read_dataset(tmp_path)
    assert data.users.ids == ["1", "2"]
    assert data.interactions.timestamp is not None
    assert data.interactions.timestamp.tolist() == pytest.approx([1_500_000_000.123456, 0])


def test_large_integer_ids_are_not_rounded(tmp_path: Path) -> None:
    rows = [{"user_id": 9007199254740993, "item_id": "2020-01-01"}]
    data = read_dataset(write_tables(tmp_path, "jsonl", rows, None))
    assert data.users.ids == ["9007199254740993"]
    assert data.items.ids == ["2020-01-01"]


def test_byte_order_mark_blank_lines_and_unused_columns(tmp_path: Path) -> None:
    text = "\ufeffuser_id,item_id,note\n\na,x,\n\n\nb,y,2\n\n"
    (tmp_path / "interactions.csv").write_text(text)
    data = read_dataset(tmp_path)
    assert data.users.ids == ["a", "b"]
    assert data.notes[0] == "interactions.csv: columns not used: note"


def test_columns_of_json_lines_are_the_keys_of_all_objects(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"item_id": "x", "weight": 1, "user_id": "a", "timestamp": 4},
        {"user_id": "a", "item_id": "y", "weight": 2, "timestamp": 5},
        {"user_id": "b", "item_id": "x", "timestamp": 6.5, "weight": 3.5, "more": None},
    ]
    items: list[dict[str, Any]] = [
        {"item_id": "x"},
        {"item_id": "y", "title": "2020-01-01", "dates": ["2020-01-01"], "from": "2020-01-01"},
    ]
    data = read_dataset(write_tables(tmp_path, "jsonl", lines, items))
    assert data.interactions.timestamp is not None
    assert data.interactions.timestamp.tolist() == [4, 5, 6.5]
    assert data.interactions.weight is not None
    assert data.interactions.weight.tolist() == [1, 2, 3.5]
    nothing = {"item_id": "x", "title": None, "dates": None, "from": None}
    assert data.item_table.to_pylist() == [nothing, items[1]]


def test_quotes_within_unquoted_fields_and_escaped_ones_are_text(tmp_path: Path) -> None:
    write_tables(tmp_path, items=None)
    text = 'item_id,title\n007,5" nail\nnew,"two\r\nlines, ""quoted"""\n"b,""c""",""\nü/β,"a\\"\n'
    (tmp_path / "items.csv").write_bytes(text.encode())
    titles = read_dataset(tmp_path).item_table["title"].to_pylist()
    assert titles == ['5" nail', 'two\r\nlines, "quoted"', None, "a\\"]


def test_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "tiny.inter").write_bytes(MMREC.replace("\n", "\r\n").encode())
    assert read_dataset(tmp_path).items.ids == ["0", "1", "2", "3"]
    rows = [json.dumps({"user_id": "a", "item_id": i}) for i in ("x", "y")]
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "interactions.jsonl").write_bytes("\r\n".join(rows).encode())
    assert read_dataset(folder).items.ids == ["x", "y"]
