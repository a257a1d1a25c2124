"""Weights of 0 and below are no likes; the newest interaction of a pair says which it is."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.data.datasets import write_rows, write_tables
from tests.training.data.refusals import refusal
from training.data.dataset import Dataset, Interactions
from training.data.load import read_dataset
from training.refresh.file_source import EventFiles


def log(*rows: tuple[Any, ...]) -> list[dict[str, Any]]:
    names = ("user_id", "item_id", "weight", "timestamp")
    return [dict(zip(names, row, strict=False)) for row in rows]


def named(data: Dataset, some: Interactions | None) -> dict[tuple[str, str], float]:
    assert some is not None
    assert some.weight is not None
    pairs = zip(some.user_idx.tolist(), some.item_idx.tolist(), strict=True)
    names = [(data.users[user], data.items[item]) for user, item in pairs]
    return dict(zip(names, some.weight.tolist(), strict=True))


ROWS = log(
    ("a", "x", 1.0, 1),
    ("a", "x", -1.0, 2),
    ("a", "y", -1.0, 4),
    ("a", "y", 2.0, 5),
    ("a", "z", 3.0, 9),
    ("a", "z", -2.0, 8),
    ("b", "x", 0.0, 1),
    ("b", "y", 1.0, 1),
    ("c", "x", -0.5, 1),
)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_the_newest_of_a_pair_counts(tmp_path: Path, form: str) -> None:
    data = read_dataset(write_tables(tmp_path, form, ROWS, None))
    likes = {("a", "y"): 2.0, ("a", "z"): 3.0, ("b", "y"): 1.0}
    assert named(data, data.interactions) == likes
    dislikes = {("a", "x"): -1.0, ("b", "x"): 0.0, ("c", "x"): -0.5}
    assert named(data, data.dislikes) == dislikes
    assert data.notes[0] == (
        "pairs whose newest weight is 0 or below, not trained on but kept as dislikes: 3"
    )
    events = next(EventFiles(tmp_path / f"interactions.{form}").read({})).events
    newest = {(event.user_id, event.item_id): event.weight for event in events}
    assert newest == likes | dislikes


def test_without_times_the_last_row_is_the_newest(tmp_path: Path) -> None:
    rows = log(("a", "x", 1.0), ("a", "x", -1.0), ("a", "y", -1.0), ("a", "y", 1.0))
    data = read_dataset(write_tables(tmp_path, "csv", rows, None))
    assert named(data, data.interactions) == {("a", "y"): 1}
    assert named(data, data.dislikes) == {("a", "x"): -1}
    events = next(EventFiles(tmp_path / "interactions.csv").read({})).events
    assert {event.item_id: event.weight for event in events} == {"x": -1, "y": 1}


def test_labels_say_which_dislikes_may_be_known(tmp_path: Path) -> None:
    rows = log(("a", "x", 1.0), ("a", "y", -1.0), ("a", "z", -1.0))
    for row, label in zip(rows, ("train", "train", "test"), strict=True):
        row["split"] = label
    data = read_dataset(write_tables(tmp_path, "csv", rows, None))
    assert named(data, data.dislikes) == {("a", "y"): -1}
    assert "dislikes that are not labelled train, left out: 1" in data.notes


def test_min_weight_drops_weak_likes_and_no_dislikes(tmp_path: Path) -> None:
    data = read_dataset(write_tables(tmp_path, "csv", ROWS, None), min_weight=2)
    assert named(data, data.interactions) == {("a", "y"): 2.0, ("a", "z"): 3.0}
    assert len(named(data, data.dislikes)) == 3
    assert "interactions with a weight below 2 dropped: 2" in data.notes


def test_dislikes_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    one = read_dataset(write_tables(tmp_path / "one", "csv", ROWS, None)).fingerprint
    other = [*ROWS[:-1], {**ROWS[-1], "weight": -0.6}]
    assert read_dataset(write_tables(tmp_path / "other", "csv", other, None)).fingerprint != one


def test_likes_alone_are_as_before(tmp_path: Path) -> None:
    data = read_dataset(write_tables(tmp_path))
    assert data.dislikes is None
    assert not [note for note in data.notes if "like" in note]


def test_no_likes_at_all(tmp_path: Path) -> None:
    write_rows(tmp_path / "interactions.csv", log(("a", "x", -1.0), ("a", "y", 0.0)))
    assert refusal(tmp_path) == "interactions.csv, column 'weight': no weight is above 0"
