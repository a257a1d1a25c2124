"""Wrong arrays of features and graphs are refused in one sentence with file, row and column."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.errors import InputError
from tests.support.data.datasets import FORMATS, write_tables
from tests.training.data.refusals import Write, array, graph, refusal, text
from training.data.load import read_dataset

ONES = np.ones((4, 2), np.float32)


def with_cell(matrix: Any, row: int, column: int, value: float) -> Any:
    changed = np.array(matrix)
    changed[row, column] = value
    return changed


ARRAYS = {
    "nan": (
        array("image_feat.npy", with_cell(ONES, 2, 1, np.nan)),
        "image_feat.npy, row 2 column 1 (from 0): nan is not finite",
    ),
    "inf": (
        array("image_feat.npy", with_cell(ONES.astype(np.float16), 1, 0, -np.inf)),
        "image_feat.npy, row 1 column 0 (from 0): -inf is not finite",
    ),
    "too_large": (
        array("image_feat.npy", with_cell(ONES.astype(np.float64), 1, 0, 1e300)),
        "image_feat.npy, row 1 column 0 (from 0): inf is not finite",
    ),
    "row_count": (array("image_feat.npy", ONES[:3]), "image_feat.npy: 3 rows, but items.csv has 4"),
    "one_axis": (
        array("image_feat.npy", ONES[0]),
        "image_feat.npy: array has shape (2,), expected rows and columns",
    ),
    "no_feature_rows": (
        array("image_feat.npy", ONES[:0]),
        "image_feat.npy: array has shape (0, 2), expected rows and columns",
    ),
    "text_array": (
        array("image_feat.npy", [["a"]]),
        "image_feat.npy: array must contain numbers, not <U1",
    ),
    "pickle_inside": (
        lambda folder: np.save(folder / "image_feat.npy", np.asarray([{}]), allow_pickle=True),
        "image_feat.npy: contains Python objects, which are never loaded",
    ),
    "pickle": (
        text("image_feat.npy", pickle.dumps([1])),
        "image_feat.npy: contains Python objects, which are never loaded",
    ),
    "empty_npy": (text("image_feat.npy", b""), "image_feat.npy: is not a readable NumPy file"),
    "header_only_npy": (
        text("image_feat.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"),
        "image_feat.npy: is not a readable NumPy file",
    ),
    "archive_for_array": (
        lambda folder: [
            graph([[0]], [[1]])(folder),
            (folder / "image_knn.npz").rename(folder / "image_feat.npy"),
        ],
        "image_feat.npy: is not a NumPy array",
    ),
    "two_files": (
        lambda folder: [array("image_feat.npy", ONES)(folder), text("image_feat.csv", "")(folder)],
        "image_feat.npy: image_feat.csv has features of modality 'image' too",
    ),
    "two_graphs": (
        lambda folder: [text(f"image_knn{k}.npz", "")(folder) for k in (5, 10)],
        "image_knn5.npz: image_knn10.npz has graphs of modality 'image' too",
    ),
    "empty_graph": (text("image_knn.npz", b""), "image_knn.npz: is not a readable NumPy file"),
    "array_for_graph": (
        lambda folder: [
            array("image_knn.npy", ONES)(folder),
            (folder / "image_knn.npy").rename(folder / "image_knn.npz"),
        ],
        "image_knn.npz: is not a NumPy archive",
    ),
    "no_cos": (
        lambda folder: np.savez(folder / "image_knn.npz", idx=np.zeros((4, 1), int)),
        "image_knn.npz: is not a NumPy archive with the arrays idx and cos",
    ),
    "graph_shapes": (
        graph([[0], [1]], [[1, 1], [1, 1]]),
        "image_knn.npz: idx has shape (2, 1) but cos has (2, 2)",
    ),
    "graph_rows": (graph([[0], [1]], [[1], [1]]), "image_knn.npz: 2 rows, but items.csv has 4"),
    "fractional_idx": (
        graph([[0.0], [1.0]], [[1], [1]]),
        "image_knn.npz: idx must contain integers, not float64",
    ),
    "far_neighbour": (
        graph([[0], [1], [4], [0]], [[1]] * 4),
        "image_knn.npz, idx row 2 column 0 (from 0): neighbour 4 is not a row number below 4",
    ),
    "twice_neighbour": (
        graph([[0, 1], [0, 0], [2, 2], [3, 3]], [[1, 1]] * 4),
        "image_knn.npz, idx row 1 (from 0): neighbour 0 occurs twice",
    ),
    "wild_cosine": (
        graph([[0], [1], [2], [3]], [[1], [1.1], [1], [1]]),
        "image_knn.npz, cos row 1 column 0 (from 0): 1.1 is not a cosine",
    ),
    "nan_cosine": (
        graph([[0], [1], [2], [3]], [[1], [1], [1], [np.nan]]),
        "image_knn.npz, cos row 3 column 0 (from 0): nan is not finite",
    ),
}


@pytest.mark.parametrize(("write", "message"), ARRAYS.values(), ids=ARRAYS)
def test_bad_arrays(tmp_path: Path, write: Write, message: str) -> None:
    write_tables(tmp_path)
    write(tmp_path)
    assert refusal(tmp_path) == message


@pytest.mark.parametrize(
    "name",
    [
        "image_feat.npy",
        "image_knn.npz",
        "interactions.parquet",
        "items.parquet",
        "interactions.csv",
        "items.csv",
        "interactions.jsonl",
        "items.jsonl",
    ],
)
def test_a_file_damaged_anywhere_is_refused_or_harmless(tmp_path: Path, name: str) -> None:
    form = name.rpartition(".")[2]
    write_tables(tmp_path, form if form in FORMATS else "parquet")
    array("image_feat.npy", ONES)(tmp_path)
    graph([[0], [1], [2], [3]], [[1]] * 4)(tmp_path)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for place in rng.integers(len(damaged), size=3) if damaged else ():
            damaged[place] = rng.integers(256)
        (tmp_path / name).write_bytes(damaged)
        try:
            read_dataset(tmp_path)
        except InputError as error:
            assert "\n" not in str(error)
