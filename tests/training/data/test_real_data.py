"""Real data sets, where there are some: their sizes, labels and splits."""

import time

import numpy as np

from tests.support.data.real_data import real_data
from training.data.dataset import Dataset
from training.data.load import read_dataset
from training.data.split import SplitConfig, make_split


def read(name: str) -> Dataset:
    return read_dataset(real_data(name))


def test_tiktok() -> None:
    started = time.process_time()
    data = read("tiktok")
    assert time.process_time() - started < 5  # CPU time, s; 0.25 on one core
    assert (len(data.users), len(data.items)) == (9308, 6710)
    assert data.interactions.label is not None
    assert np.bincount(data.interactions.label).tolist() == [59541, 3051, 6130]
    assert {name: m.features.shape for name, m in data.modalities.items()} == {
        "audio": (6710, 128),
        "image": (6710, 128),
    }
    parts = make_split(data, SplitConfig(), np.random.default_rng(0))
    assert (parts.train.nnz, parts.valid.nnz, parts.test.nnz) == (59541, 3051, 6130)
    never = (parts.train.column_counts() == 0) & (parts.test.column_counts() > 0)
    assert never.sum() / (parts.test.column_counts() > 0).sum() > 0.05


def test_baby() -> None:
    data = read("baby")
    assert (len(data.users), len(data.items)) == (19445, 7050)
    assert data.interactions.label is not None
    assert np.bincount(data.interactions.label).tolist() == [118551, 21682, 20559]
    for modality in data.modalities.values():
        assert modality.features.shape == (7050, 256)
        assert modality.neighbour_idx is not None
        assert modality.neighbour_idx.shape == (7050, 10)
    assert data.item_table.column_names == ["item_id", "asin"]
    assert data.item_table.num_rows == 7050


def test_movielens_1m() -> None:
    data = read("movielens-1m")
    assert (len(data.users), len(data.items)) == (6040, 3260)
    assert len(data.interactions.user_idx) == 998539
    assert data.item_table["title"].null_count == 449
    assert data.item_table["genres"].null_count == 1846
    parts = make_split(data, SplitConfig(), np.random.default_rng(0))
    assert parts.train.nnz + parts.valid.nnz == 801218
    assert parts.test.nnz == 197321
    assert parts.how.endswith("valid is random 0.1 of each user's train")


def test_movielens_100k() -> None:
    data = read("movielens-100k")
    assert (len(data.users), len(data.items)) == (943, 1682)
    log = data.interactions
    assert log.timestamp is not None
    assert log.weight is not None
    assert len(log.user_idx) == 100000
    assert data.items.ids[0] == "1"
    assert "ml-100k.item is not read: items.jsonl describes the items" in data.notes
    parts = make_split(data, SplitConfig(), np.random.default_rng(0))
    assert parts.how.startswith("user_time: ")
    assert (parts.test.lengths >= 1).all()
