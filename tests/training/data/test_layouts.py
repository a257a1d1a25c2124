"""Every layout of a folder gives the same kind of data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.support.data.datasets import (
    EYE,
    FORMATS,
    ITEMS,
    LOG,
    MMREC,
    write_mmrec,
    write_rows,
    write_tables,
)
from training.data.dataset import TEST, TRAIN, VALID
from training.data.load import read_dataset


def test_mmrec_items_are_the_rows_of_the_features(tmp_path: Path) -> None:
    data = read_dataset(write_mmrec(tmp_path, image=EYE, sound=np.ones((5, 2))))
    assert data.users.ids == ["0", "1"]
    assert data.items.ids == ["0", "1", "2", "3", "4"]
    log = data.interactions
    assert log.user_idx.tolist() == [1, 1, 0, 0, 0]
    assert log.item_idx.tolist() == [0, 2, 1, 2, 3]
    assert log.label is not None
    assert log.label.tolist() == [TRAIN, VALID, TRAIN, TRAIN, TEST]
    assert log.timestamp is None
    assert log.weight is None
    assert list(data.modalities) == ["image", "sound"]
    image = data.modalities["image"]
    assert image.features.dtype == np.float32
    np.testing.assert_array_equal(image.features, EYE)
    assert image.present.tolist() == [True, True, True, False, False]
    assert data.item_table.column_names == ["item_id"]
    assert "items without image: 2 of 5" in data.notes
    assert "items without interactions: 1 of 5" in data.notes
    assert "items in valid or test interactions only: 1 of 5" in data.notes


def test_mmrec_without_features_numbers_what_occurs(tmp_path: Path) -> None:
    inter = "userID\titemID\tx_label\n10\t30\t0\n9\t4\t0\n10\t4\t2\n"
    data = read_dataset(write_mmrec(tmp_path, inter))
    assert data.users.ids == ["9", "10"]
    assert data.items.ids == ["4", "30"]
    assert data.modalities == {}


def test_mmrec_metadata_by_either_key(tmp_path: Path) -> None:
    write_mmrec(tmp_path, image=EYE)
    rows: list[dict[str, Any]] = [
        {"itemID": 2, "title": "two", "genres": ["a", "b"], "numbers": [1, 2], "shop": {"x": 1}},
        {"itemID": 0, "title": None, "genres": None, "numbers": [], "shop": {"x": 2}},
    ]
    write_rows(tmp_path / "items.jsonl", rows)
    data = read_dataset(tmp_path)
    table = data.item_table
    assert table.column_names == ["item_id", "title", "genres", "numbers"]
    assert table.schema.field("genres").type == pa.list_(pa.string())
    assert table["item_id"].to_pylist() == ["0", "1", "2", "3", "4"]
    assert table["title"].to_pylist() == [None, None, "two", None, None]
    assert table["genres"].to_pylist()[2] == ["a", "b"]
    assert table["numbers"].to_pylist()[2] == ["1", "2"]
    assert "items.jsonl: columns dropped, unsupported type: shop" in data.notes
    assert "items without a row in items.jsonl: 3" in data.notes


RECBOLE = """user_id:token\titem_id:token\trating:float\ttimestamp:float
u2\tx\t5\t100
u1\ty\t2\t50
u2\ty\t4\t70
"""


def test_recbole_atomic_files(tmp_path: Path) -> None:
    write_mmrec(tmp_path, RECBOLE)
    (tmp_path / "tiny.item").write_text(
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\tyear:token\tprice:float\n"
        "y\tToy Story\tFun Children's\t1995\t1.5\nx\tHeat\tCrime\t1995\t2\n"
    )
    data = read_dataset(tmp_path)
    assert data.users.ids == ["u2", "u1"]
    assert data.items.ids == ["y", "x"]
    assert data.interactions.weight is not None
    assert data.interactions.weight.tolist() == [5, 2, 4]
    assert data.interactions.timestamp is not None
    assert data.interactions.timestamp.tolist() == [100, 50, 70]
    assert data.item_table.to_pylist()[0] == {
        "item_id": "y",
        "movie_title": "Toy Story",
        "class": ["Fun", "Children's"],
        "year": "1995",
        "price": 1.5,
    }


def test_recbole_features_follow_the_list(tmp_path: Path) -> None:
    write_mmrec(tmp_path, RECBOLE, image=np.asarray([[1.0], [2.0], [3.0]]))
    (tmp_path / "image_items.txt").write_text("z\ny\nx\n")
    data = read_dataset(tmp_path)
    assert data.items.ids == ["x", "y", "z"]
    assert data.modalities["image"].features.tolist() == [[3], [2], [1]]


def test_min_weight_keeps_items_and_drops_users(tmp_path: Path) -> None:
    data = read_dataset(write_mmrec(tmp_path, RECBOLE), min_weight=4)
    assert data.users.ids == ["u2"]
    assert data.items.ids == ["x", "y"]
    assert data.interactions.item_idx.tolist() == [0, 1]
    assert "interactions with a weight below 4 dropped: 1" in data.notes


@pytest.mark.parametrize("form", FORMATS)
def test_tables_in_every_format(tmp_path: Path, form: str) -> None:
    write_tables(tmp_path, form)
    np.save(tmp_path / "image_feat.npy", np.arange(1, 5)[:, None])
    data = read_dataset(tmp_path)
    assert data.users.ids == ["ann", "bob"]
    assert data.items.ids == ["ü/β", "007", "new", 'b,"c"']
    log = data.interactions
    assert log.user_idx.tolist() == [0, 1, 0, 1]
    assert log.item_idx.tolist() == [1, 3, 0, 1]
    assert log.timestamp is not None
    assert log.timestamp.tolist() == [30.5, 10, 20, 40]
    assert log.weight is not None
    assert log.weight.tolist() == [1, 5, 4, 2]
    assert log.label is not None
    assert log.label.tolist() == [TRAIN, TRAIN, VALID, TEST]
    assert data.item_table.to_pylist() == list(ITEMS)
    assert data.item_table.schema.field("title").type == pa.string()
    assert data.modalities["image"].features.tolist() == [[1], [2], [3], [4]]


def test_equal_content_has_one_fingerprint(tmp_path: Path) -> None:
    prints = set()
    for form in FORMATS:
        folder = write_tables(tmp_path / form, form)
        write_rows(folder / "text_feat.csv", [{"item_id": "007", "a": 0.5, "b": 2}])
        prints.add(read_dataset(folder).fingerprint)
    folder = write_tables(tmp_path / "csv")
    (folder / "text_feat.csv").unlink()
    write_rows(folder / "text_feat.jsonl", [{"item_id": "007", "features": [0.5, 2]}])
    prints.add(read_dataset(folder).fingerprint)
    assert len(prints) == 1
    write_rows(folder / "text_feat.jsonl", [{"item_id": "007", "features": [0.5, 3]}])
    assert read_dataset(folder).fingerprint not in prints


def test_repeated_pairs_keep_the_earliest(tmp_path: Path) -> None:
    log = [
        {**LOG[0], "timestamp": 5.0, "weight": 1.0, "split": "test"},
        {**LOG[1], "timestamp": 1.0, "weight": 2.0, "split": "train"},
        {**LOG[0], "timestamp": 3.0, "weight": 3.0, "split": "valid"},
        {**LOG[0], "timestamp": 3.0, "weight": 4.0, "split": "valid"},
    ]
    data = read_dataset(write_tables(tmp_path, log=log))
    kept = data.interactions
    assert kept.user_idx.tolist() == [1, 0]
    assert kept.timestamp is not None
    assert kept.timestamp.tolist() == [1, 3]
    assert kept.weight is not None
    assert kept.weight.tolist() == [2, 3]
    assert kept.label is not None
    assert kept.label.tolist() == [TRAIN, VALID]
    assert data.notes[0] == (
        "repeated interactions dropped, the earliest of each pair kept: 2; "
        "pairs with several split labels, the earliest label kept: 1"
    )


def test_the_summary_of_a_data_set(tmp_path: Path) -> None:
    write_mmrec(tmp_path, image=EYE)
    (tmp_path / "image_feat.pt").write_bytes(b"")
    np.save(tmp_path / "mapping.npy", EYE)
    assert read_dataset(tmp_path).summary().splitlines() == [
        "2 users × 5 items × 5 interactions (train 3 / valid 1 / test 1)",
        "without timestamps and weights",
        "image: 3 features, 3 of 5 items have it",
        "note: image_feat.pt is not read: its name is not that of a modality file",
        "note: mapping.npy is not read: its name is not that of a modality file",
        "note: items without interactions: 1 of 5",
        "note: items in valid or test interactions only: 1 of 5",
        "note: items without image: 2 of 5",
    ]


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    write_tables(tmp_path, "jsonl")
    for name in ("ITEMS.CSV", "items.csv.gz", "interactions.ndjson", "README", "b.tsv"):
        (tmp_path / name).write_text("")
    (tmp_path / "dt=2024-01-01").mkdir()
    (tmp_path / ".hidden").write_text("")
    np.save(tmp_path / "a_feat.npy", np.ones((1, 2)))
    (tmp_path / "a_items.txt").write_text("007\n")
    assert read_dataset(tmp_path).notes[0] == (
        "files and folders not read: 6"
        " (ITEMS.CSV, README, b.tsv, dt=2024-01-01/, interactions.ndjson, …)"
    )


def test_users_without_train_are_counted(tmp_path: Path) -> None:
    data = read_dataset(write_mmrec(tmp_path, MMREC + "7\t1\t2\n"))
    assert "users without train interactions: 1 of 3" in data.notes
