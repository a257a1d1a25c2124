"""Wrong interactions are refused in one sentence with file, line and column."""

from pathlib import Path

import pyarrow as pa
import pytest

from tests.training.data.refusals import Write, columns, refusal, rows, text

LOGS = {
    "not_utf8": (
        text("interactions.csv", b"user_id,item_id\na,b\n\xff,b\n"),
        "interactions.csv, line 3: is not UTF-8 text",
    ),
    "not_utf8_header": (
        text("interactions.csv", "user_id,item_id\na,b\n".encode("utf-16")),
        "interactions.csv, line 1: is not UTF-8 text",
    ),
    "not_utf8_json": (
        text("interactions.jsonl", b'{"user_id":"a","item_id":"b"}\n{"user_id":"\xff"}\n'),
        "interactions.jsonl, line 2: is not UTF-8 text",
    ),
    "empty_csv": (text("interactions.csv", ""), "interactions.csv: the file is empty"),
    "empty_jsonl": (text("interactions.jsonl", "\n"), "interactions.jsonl: the file is empty"),
    "empty_parquet": (
        text("interactions.parquet", ""),
        "interactions.parquet: is not a readable Parquet file",
    ),
    "header_only": (
        text("interactions.csv", "user_id,item_id\n"),
        "interactions.csv: has no rows",
    ),
    "no_rows_parquet": (
        columns(
            "interactions.parquet", user_id=pa.array([], "string"), item_id=pa.array([], "string")
        ),
        "interactions.parquet: has no rows",
    ),
    "missing_column": (
        text("interactions.csv", "user_id,item\na,b\n"),
        "interactions.csv, column 'item_id': is missing (columns: user_id, item)",
    ),
    "missing_column_json": (
        text("interactions.jsonl", '{"item_id": "b"}'),
        "interactions.jsonl, column 'user_id': is missing (columns: item_id)",
    ),
    "twice_column": (
        text("interactions.csv", "user_id,item_id,user_id\na,b,c\n"),
        "interactions.csv, column 'user_id': occurs twice in the header",
    ),
    "empty_id": (
        text("interactions.csv", 'user_id,item_id\n"a\nb",x\n\n,x\n'),
        "interactions.csv, line 5, column 'user_id': the id is empty",
    ),
    "absent_id": (
        text("interactions.jsonl", '{"user_id":"a","item_id":"b"}\n\n{"user_id":"a"}\n'),
        "interactions.jsonl, line 3, column 'item_id': the id is empty",
    ),
    "null_id": (
        rows("interactions.parquet", {"user_id": "a", "item_id": "b"}, {"user_id": "a"}),
        "interactions.parquet, row 1 (from 0), column 'item_id': the id is empty",
    ),
    "fractional_id": (
        rows("interactions.parquet", {"user_id": 1.5, "item_id": "b"}),
        "interactions.parquet, row 0 (from 0), column 'user_id': "
        "ids must be text or integers, not double",
    ),
    "fractional_id_json": (
        text("interactions.jsonl", '{"user_id":1,"item_id":2}\n{"user_id":1.5,"item_id":2}\n'),
        "interactions.jsonl, line 2, column 'user_id': ids must be text or integers, not double",
    ),
    "whole_fractions_as_ids": (
        rows("interactions.parquet", {"user_id": 1.0, "item_id": "b"}),
        "interactions.parquet, column 'user_id': ids must be text or integers, not double",
    ),
    "null_before_integers": (
        text("interactions.jsonl", '{"user_id":null,"item_id":2}\n{"user_id":1,"item_id":2}\n'),
        "interactions.jsonl, line 1, column 'user_id': the id is empty",
    ),
    "late_label": (
        text(
            "interactions.jsonl",
            '{"user_id":"a","item_id":"x"}\n{"user_id":"b","item_id":"y","split":"train"}\n',
        ),
        "interactions.jsonl, line 1, column 'split': "
        "the label is missing (train, valid, test or 0, 1, 2)",
    ),
    "late_weight": (
        text(
            "interactions.jsonl",
            '{"user_id":"a","item_id":"x"}\n{"user_id":"b","item_id":"y","weight":-1}\n',
        ),
        "interactions.jsonl, line 1, column 'weight': the number is missing",
    ),
    "blank_in_header": (
        text("interactions.csv", "user_id, item_id\na, b\n"),
        "interactions.csv, column 'item_id': is missing (columns: user_id, ' item_id')",
    ),
    "unclosed_quote": (
        text("interactions.csv", 'user_id,item_id\na,"x\nb,y\n'),
        "interactions.csv, line 2: a quoted field begins here that is never closed",
    ),
    "two_unclosed_quotes": (
        text("interactions.csv", '\ufeffuser_id,item_id\r\na,"x\r\nb,y\r\nc,"z\r\n'),
        "interactions.csv, line 2: a quoted field begins here, and text follows its quote in "
        "line 4 (quotes within a field are written twice)",
    ),
    "unclosed_quote_in_header": (
        text("interactions.csv", 'user_id,"item_id\na,x\n'),
        "interactions.csv, line 1: a quoted field begins here that is never closed",
    ),
    "backslash_before_quotes": (
        text("interactions.csv", 'user_id,item_id\na,"the \\"big\\", one"\n'),
        "interactions.csv, line 2: a quoted field begins here, and text follows its quote in "
        "line 2 (quotes within a field are written twice)",
    ),
    "times_in_microseconds": (
        text("interactions.csv", "user_id,item_id,timestamp\na,b,1704067200000000\n"),
        "interactions.csv, line 2, column 'timestamp': 1704067200000000 is after the year 9999 "
        "(expected seconds or milliseconds since 1970, or ISO 8601)",
    ),
    "no_such_day": (
        text("interactions.csv", "user_id,item_id,timestamp\na,b,1\na,b,2024-02-30\na,b,x\n"),
        "interactions.csv, line 3, column 'timestamp': '2024-02-30' is not a moment "
        "(expected seconds or milliseconds since 1970, or ISO 8601)",
    ),
    "a_date_as_weight": (
        columns(
            "interactions.parquet",
            user_id=pa.array(["a"]),
            item_id=pa.array(["b"]),
            weight=pa.array([1], pa.date32()),
        ),
        "interactions.parquet, column 'weight': expected numbers, not date32[day]",
    ),
    "mixed_ids": (
        text("interactions.jsonl", '{"user_id":1,"item_id":"b"}\n{"user_id":"a","item_id":"b"}\n'),
        "interactions.jsonl, line 2, column 'user_id': text, but a number is expected",
    ),
    "ragged": (
        text("interactions.csv", "user_id,item_id\na,b\n\na\n"),
        "interactions.csv, line 4: 1 fields where the header has 2",
    ),
    "bad_json": (
        text("interactions.jsonl", '{"user_id":"a","item_id":"b"}\n{"user_id":\n'),
        "interactions.jsonl, line 2: is not valid JSON",
    ),
    "json_array": (
        text("interactions.jsonl", "[1]\n"),
        "interactions.jsonl, line 1: is not a JSON object",
    ),
    "word_for_time": (
        text("interactions.csv", "x,user_id,timestamp,item_id\n1,a,2,b\n\n1,a,now,b\n"),
        "interactions.csv, line 4, column 'timestamp': 'now' is not a moment "
        "(expected seconds or milliseconds since 1970, or ISO 8601)",
    ),
    "word_for_time_json": (
        rows("interactions.jsonl", {"user_id": "a", "item_id": "b", "timestamp": "now"}),
        "interactions.jsonl, line 1, column 'timestamp': 'now' is not a moment "
        "(expected seconds or milliseconds since 1970, or ISO 8601)",
    ),
    "negative_time": (
        text("interactions.csv", "user_id,item_id,timestamp\na,b,1\na,b,-1\n"),
        "interactions.csv, line 3, column 'timestamp': -1 is before 1970",
    ),
    "infinite_time": (
        rows("interactions.parquet", {"user_id": "a", "item_id": "b", "timestamp": float("inf")}),
        "interactions.parquet, row 0 (from 0), column 'timestamp': inf is not finite",
    ),
    "missing_time": (
        text("interactions.csv", "user_id,item_id,timestamp\na,b,1\na,b,\n"),
        "interactions.csv, line 3, column 'timestamp': the moment is missing",
    ),
    "nan_weight": (
        text("interactions.csv", "user_id,item_id,weight\na,b,1\na,b,nan\n"),
        "interactions.csv, line 3, column 'weight': nan is not finite",
    ),
    "unknown_split": (
        text("interactions.csv", "user_id,item_id,split\na,b,train\na,b,dev\n"),
        "interactions.csv, line 3, column 'split': "
        "'dev' is not a label (train, valid, test or 0, 1, 2)",
    ),
    "missing_split": (
        text("interactions.csv", "user_id,item_id,split\na,b,\n"),
        "interactions.csv, line 2, column 'split': "
        "the label is missing (train, valid, test or 0, 1, 2)",
    ),
    "unknown_x_label": (
        text("tiny.inter", "userID\titemID\tx_label\n0\t0\t0\n0\t1\t3\n"),
        "tiny.inter, line 3, column 'x_label': '3' is not a label (train, valid, test or 0, 1, 2)",
    ),
    "no_train": (
        text("tiny.inter", "userID\titemID\tx_label\n0\t0\t2\n"),
        "tiny.inter, column 'x_label': no interaction is labelled train (0)",
    ),
    "commas_in_inter": (
        text("tiny.inter", "userID,itemID\n0,0\n"),
        "tiny.inter, column 'userID': is missing (columns: userID,itemID)",
    ),
    "two_item_columns": (
        text("tiny.inter", "userID\titemID\titem_id:token\n0\t0\t0\n"),
        "tiny.inter, column 'item_id:token': column 'itemID' already has the item",
    ),
    "damaged_parquet": (
        text("interactions.parquet", b"PAR1" + bytes(40)),
        "interactions.parquet: is not a readable Parquet file",
    ),
    "is_a_folder": (
        lambda folder: (folder / "interactions.csv").mkdir(),
        "interactions.csv: cannot be read (Is a directory)",
    ),
}


@pytest.mark.parametrize(("write", "message"), LOGS.values(), ids=LOGS)
def test_bad_interactions(tmp_path: Path, write: Write, message: str) -> None:
    write(tmp_path)
    assert refusal(tmp_path) == message
