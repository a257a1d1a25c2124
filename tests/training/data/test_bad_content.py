"""Wrong lists of items and tables of features are refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.data.datasets import write_tables
from tests.training.data.refusals import Write, array, refusal, rows, text

ONES = np.ones((4, 2), np.float32)

CONTENT = {
    "list_length": (
        lambda folder: [array("a_feat.npy", ONES)(folder), text("a_items.txt", "007\n")(folder)],
        "a_feat.npy: 4 rows, but a_items.txt lists 1 items",
    ),
    "list_unknown": (
        lambda folder: [
            array("a_feat.npy", ONES[:2])(folder),
            text("a_items.txt", "007\nx\n")(folder),
        ],
        "a_items.txt, line 2: unknown item 'x'",
    ),
    "list_twice": (
        lambda folder: [array("a_feat.npy", ONES)(folder), text("a_items.txt", "a\na\n")(folder)],
        "a_items.txt, line 2: the id 'a' occurs twice",
    ),
    "list_not_utf8": (
        lambda folder: [array("a_feat.npy", ONES)(folder), text("a_items.txt", b"a\n\xff")(folder)],
        "a_items.txt, line 2: is not UTF-8 text",
    ),
    "list_empty": (
        lambda folder: [array("a_feat.npy", ONES)(folder), text("a_items.txt", "a\n\n")(folder)],
        "a_items.txt, line 2: the id is empty",
    ),
    "list_of_nothing": (
        text("a_items.txt", "007\n"),
        "a_items.txt: there are no a_feat.* and a_knn*.npz to list",
    ),
    "table_unknown": (
        text("a_feat.csv", "item_id,x\n007,1\n8,1\n"),
        "a_feat.csv, line 3, column 'item_id': unknown item '8'",
    ),
    "table_twice": (
        text("a_feat.csv", "item_id,x\n007,1\n007,1\n"),
        "a_feat.csv, line 3, column 'item_id': the id '007' occurs twice",
    ),
    "table_key": (
        text("a_feat.csv", "id,x\n007,1\n"),
        "a_feat.csv, column 'item_id': is missing (columns: id, x)",
    ),
    "table_bare": (
        text("a_feat.csv", "item_id\n007\n"),
        "a_feat.csv: there are no feature columns",
    ),
    "table_word": (
        text("a_feat.csv", "item_id,x\n007,1\nnew,one\n"),
        "a_feat.csv, line 3, column 'x': 'one' is not a number",
    ),
    "table_nan": (
        text("a_feat.csv", "item_id,x,y\n007,1,2\nnew,1,nan\n"),
        "a_feat.csv, line 3, column 'y': nan is not finite",
    ),
    "table_too_large": (
        text("a_feat.csv", "item_id,x,y\n007,1,2\nnew,1,1e300\n"),
        "a_feat.csv, line 3, column 'y': 1e+300 is above 3.40282e+38",
    ),
    "table_beyond": (
        text("a_feat.csv", "item_id,x,y\n007,1,2\nnew,1,-3e38\n"),
        "a_feat.csv, line 3, column 'y': -3e+38 is beyond ±1e+15 as float32",
    ),
    "array_beyond": (
        array("a_feat.npy", np.where(np.eye(4, 2) > 0, 1, 2e15)),
        "a_feat.npy, row 0 column 1 (from 0): 2e+15 is beyond ±1e+15",
    ),
    "lists_beyond": (
        rows("a_feat.jsonl", {"item_id": "007", "features": [1, 1e16]}),
        "a_feat.jsonl, line 1, column 'features': "
        "1e+16 in position 1 (from 0) is beyond ±1e+15 as float32",
    ),
    "lists_ragged": (
        rows(
            "a_feat.jsonl",
            {"item_id": "007", "features": [1, 2]},
            {"item_id": "new", "features": None},
            {"item_id": "ü/β", "features": [1]},
        ),
        "a_feat.jsonl, line 3, column 'features': 1 numbers, but the rows before have 2",
    ),
    "lists_nan": (
        rows(
            "a_feat.jsonl",
            {"item_id": "007", "features": None},
            {"item_id": "new", "features": [1, float("nan")]},
        ),
        "a_feat.jsonl, line 2, column 'features': "
        "nan in position 1 (from 0) is not finite as float32",
    ),
    "lists_null": (
        rows("a_feat.parquet", {"item_id": "007", "features": [1.0, None]}),
        "a_feat.parquet, row 0 (from 0), column 'features': "
        "nan in position 1 (from 0) is not finite as float32",
    ),
    "lists_of_words": (
        rows("a_feat.parquet", {"item_id": "007", "features": ["a"]}),
        "a_feat.parquet, column 'features': expected lists of numbers, not list<item: string>",
    ),
    "lists_mixed": (
        rows("a_feat.jsonl", {"item_id": "007", "features": [1, "a"]}),
        "a_feat.jsonl, line 1, column 'features': text, but a number is expected",
    ),
    "no_lists": (
        rows("a_feat.jsonl", {"item_id": "007", "features": []}),
        "a_feat.jsonl, line 1, column 'features': the list is empty",
    ),
}


@pytest.mark.parametrize(("write", "message"), CONTENT.values(), ids=CONTENT)
def test_bad_content(tmp_path: Path, write: Write, message: str) -> None:
    write_tables(tmp_path)
    write(tmp_path)
    assert refusal(tmp_path) == message
