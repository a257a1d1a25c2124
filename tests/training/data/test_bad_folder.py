"""Folders whose files exclude or contradict each other are refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.data.datasets import ITEMS, LOG, MMREC, write_mmrec, write_tables
from tests.training.data.refusals import Write, array, refusal, rows, text

ONES = np.ones((4, 2), np.float32)

FOLDERS = {
    "nothing": ([], "FOLDER: has no .inter file and no interactions.parquet|csv|jsonl"),
    "other_names": (
        [text("Interactions.CSV", ""), text("interactions.csv.gz", "")],
        "FOLDER: has no .inter file and no interactions.parquet|csv|jsonl "
        "(there are: Interactions.CSV, interactions.csv.gz)",
    ),
    "no_item_matches": (
        [text("interactions.csv", "user_id,item_id\na,1\n"), text("items.csv", "item_id\n1.0\n")],
        "items.csv: none of its 1 item ids occurs in interactions.csv ('1.0' here, '1' there)",
    ),
    "no_item_of_mmrec_matches": (
        [text("a.inter", MMREC), text("items.csv", "itemID,title\n7,a\n8,b\n")],
        "items.csv: none of its 2 item ids occurs in a.inter ('7' here, '0' there)",
    ),
    "no_feature_matches": (
        [
            text("interactions.csv", "user_id,item_id\na,1\n"),
            text("a_feat.csv", "item_id,x\n1.0,1\n"),
        ],
        "a_feat.csv: none of its 1 item ids occurs in interactions.csv ('1.0' here, '1' there)",
    ),
    "no_listed_item_matches": (
        [
            text("interactions.csv", "user_id,item_id\na,1\n"),
            array("a_feat.npy", ONES[:1]),
            text("a_items.txt", "x\n"),
        ],
        "a_feat.npy: none of its 1 item ids occurs in interactions.csv ('x' here, '1' there)",
    ),
    "both": (
        [text("a.inter", MMREC), rows("interactions.csv", *LOG)],
        "FOLDER: files of both layouts: a.inter, interactions.csv",
    ),
    "two_inter": (
        [text("a.inter", MMREC), text("b.inter", MMREC)],
        "FOLDER: several interaction files: a.inter, b.inter",
    ),
    "two_tables": (
        [rows("interactions.csv", *LOG), rows("interactions.jsonl", *LOG)],
        "FOLDER: several interaction files: interactions.csv, interactions.jsonl",
    ),
    "two_items": (
        [rows("interactions.csv", *LOG), rows("items.csv", *ITEMS), rows("items.jsonl", *ITEMS)],
        "FOLDER: several items tables: items.csv, items.jsonl",
    ),
    "two_item": (
        [text("a.inter", MMREC), text("a.item", ""), text("b.item", "")],
        "FOLDER: several .item files: a.item, b.item",
    ),
    "items_key": (
        [rows("interactions.csv", *LOG), text("items.csv", "itemID,title\n1,a\n")],
        "items.csv, column 'item_id': is missing (columns: itemID, title)",
    ),
    "items_two_keys": (
        [text("a.inter", MMREC), text("items.csv", "itemID,item_id\n1,a\n")],
        "items.csv: both 'itemID' and 'item_id' could be the item id",
    ),
    "items_twice": (
        [rows("interactions.csv", *LOG), text("items.csv", "item_id\n7\n8\n7\n")],
        "items.csv, line 4, column 'item_id': the id '7' occurs twice",
    ),
    "nobody_names_the_rows": (
        [rows("interactions.csv", *LOG), array("image_feat.npy", ONES)],
        "image_feat.npy: the ids of its rows are unknown; add an items table or "
        "image_items.txt (one id per line)",
    ),
    "mmrec_item_beyond": (
        [text("a.inter", MMREC), array("image_feat.npy", ONES[:3])],
        "a.inter, line 6, column 'itemID': item '3' has no row in image_feat.npy (rows 0 to 2)",
    ),
    "mmrec_item_no_number": (
        [text("a.inter", MMREC + "0\tx\t0\n"), array("image_feat.npy", ONES)],
        "a.inter, line 7, column 'itemID': item 'x' has no row in image_feat.npy (rows 0 to 3)",
    ),
    "mmrec_metadata_beyond": (
        [
            text("a.inter", MMREC),
            array("image_feat.npy", ONES),
            text("items.csv", "itemID\n1\n4\n"),
        ],
        "items.csv, line 3, column 'itemID': item '4' has no row in image_feat.npy (rows 0 to 3)",
    ),
    "mmrec_uneven": (
        [
            text("a.inter", MMREC),
            array("image_feat.npy", ONES),
            array("text_feat.npy", np.ones((5, 1))),
        ],
        "text_feat.npy: 5 rows, but image_feat.npy has 4",
    ),
    "mmrec_unknown": (
        [
            text("a.inter", MMREC),
            array("image_feat.npy", ONES),
            text("text_feat.csv", "itemID,x\n4,1\n"),
        ],
        "text_feat.csv, line 2, column 'itemID': unknown item '4'",
    ),
}


@pytest.mark.parametrize(("parts", "message"), FOLDERS.values(), ids=FOLDERS)
def test_bad_folders(tmp_path: Path, parts: list[Write], message: str) -> None:
    for write in parts:
        write(tmp_path)
    assert refusal(tmp_path) == message


def test_not_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere") == "FOLDER: is not a folder"


def test_min_weight_needs_weights_that_reach_it(tmp_path: Path) -> None:
    write_mmrec(tmp_path)
    message = "tiny.inter: min_weight 3 needs a column with weights or ratings"
    assert refusal(tmp_path, 3) == message
    other = write_tables(tmp_path / "tables")
    message = "interactions.csv, column 'weight': all interactions are below min_weight 9"
    assert refusal(other, 9) == message
