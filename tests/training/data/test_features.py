"""Features and graphs of items, in every form of a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.data.datasets import (
    EYE,
    FORMATS,
    write_graph,
    write_mmrec,
    write_rows,
    write_tables,
)
from training.data.load import read_dataset


@pytest.mark.parametrize("form", FORMATS)
def test_features_as_a_table_of_numbers(tmp_path: Path, form: str) -> None:
    write_tables(tmp_path)
    rows = [{"item_id": "new", "a": 1.5, "b": 2}, {"item_id": "007", "a": 3.0, "b": 4}]
    write_rows(tmp_path / f"text_feat.{form}", rows)
    text = read_dataset(tmp_path).modalities["text"]
    assert text.features.tolist() == [[0, 0], [3, 4], [1.5, 2], [0, 0]]
    assert text.present.tolist() == [False, True, True, False]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_features_as_lists(tmp_path: Path, form: str) -> None:
    write_tables(tmp_path)
    rows: list[dict[str, Any]] = [
        {"item_id": "new", "features": None},
        {"item_id": "007", "features": [3.0, 4.0]},
        {"item_id": "ü/β", "features": [0.0, 0.0]},
    ]
    write_rows(tmp_path / f"text_feat.{form}", rows)
    text = read_dataset(tmp_path).modalities["text"]
    assert text.features.tolist() == [[0, 0], [3, 4], [0, 0], [0, 0]]
    assert text.present.tolist() == [False, True, False, False]


def test_half_precision_is_widened_before_any_sum(tmp_path: Path) -> None:
    wide = np.full((5, 4000), 60000, np.float16)
    image = read_dataset(write_mmrec(tmp_path, image=wide)).modalities["image"]
    assert image.features.sum(axis=1)[0] == pytest.approx(4000 * float(np.float16(60000)))


def test_a_graph_beside_features_and_alone(tmp_path: Path) -> None:
    write_mmrec(tmp_path, image=EYE)
    idx = [[0, 1], [1, 0], [3, 2], [2, 4], [4, 4]]
    cos = [[1, 0.5], [1, 0.5], [0.7, 1], [0.7, 0.1], [1.0004, 0]]
    write_graph(tmp_path / "image_knn2.npz", idx, cos)
    write_graph(tmp_path / "text_knn_2.npz", idx, cos)
    data = read_dataset(tmp_path)
    image, text = data.modalities["image"], data.modalities["text"]
    assert image.neighbour_idx is not None
    assert image.neighbour_idx.dtype == np.int32
    assert image.neighbour_idx.tolist() == idx
    assert image.neighbour_cos is not None
    assert image.neighbour_cos.max() == 1
    assert image.present.tolist() == [True, True, True, False, False]
    assert text.features.shape == (5, 0)
    assert text.present.all()


def test_a_graph_follows_the_numbering_of_items(tmp_path: Path) -> None:
    write_tables(tmp_path)
    write_graph(tmp_path / "image_knn.npz", [[1, 0], [0, 1]], [[0.5, 1], [0.5, 1]])
    (tmp_path / "image_items.txt").write_text("new\nü/β")
    image = read_dataset(tmp_path).modalities["image"]
    assert image.neighbour_idx is not None
    assert image.neighbour_cos is not None
    assert image.neighbour_idx.tolist() == [[2, 0], [1, 1], [0, 2], [3, 3]]
    assert image.neighbour_cos.tolist() == [[0.5, 1], [0, 0], [0.5, 1], [0, 0]]
    assert image.present.tolist() == [True, False, True, False]
