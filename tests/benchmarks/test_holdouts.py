"""Data without some items or users are the data, minus them."""

from dataclasses import replace

import numpy as np

from benchmarks.quality.cold_start.holdouts import columns, without_items, without_users
from tests.support.data.planted_groups import planted_dataset
from training.data.split import SplitConfig, make_split


def test_a_catalogue_without_some_items() -> None:
    dataset = planted_dataset()
    split = make_split(dataset, SplitConfig(), np.random.default_rng(0))
    kept = np.flatnonzero(np.arange(len(dataset.items)) % 3 > 0)
    smaller, parts = without_items(dataset, split, kept)
    assert smaller.items.ids == [dataset.items[int(i)] for i in kept]
    assert smaller.item_table["item_id"].to_pylist() == smaller.items.ids
    assert smaller.fingerprint != dataset.fingerprint
    for name, modality in smaller.modalities.items():
        np.testing.assert_array_equal(modality.features, dataset.modalities[name].features[kept])
        np.testing.assert_array_equal(modality.present, dataset.modalities[name].present[kept])
    for name in ("train", "valid", "test"):
        before, after = getattr(split, name), getattr(parts, name)
        pairs = {(u, i) for u, i in zip(*before.pairs(), strict=True) if i % 3 > 0}
        assert {(u, kept[i]) for u, i in zip(*after.pairs(), strict=True)} == pairs
    left = {(u, i) for u, i in zip(*split.test.pairs(), strict=True) if i % 3 == 0}
    gone = np.flatnonzero(np.arange(len(dataset.items)) % 3 == 0)
    held = columns(split.test, gone)
    assert {(u, gone[i]) for u, i in zip(*held.pairs(), strict=True)} == left


def test_a_given_graph_loses_the_items_that_are_gone() -> None:
    dataset = planted_dataset()
    n_items = len(dataset.items)
    name = next(iter(dataset.modalities))
    modality = dataset.modalities[name]
    neighbours = (np.arange(n_items)[:, None] + [1, 2]) % n_items
    with_graph = replace(
        modality,
        neighbour_idx=neighbours.astype(np.int32),
        neighbour_cos=np.full((n_items, 2), 0.5, np.float32),
    )
    dataset = replace(dataset, modalities={name: with_graph})
    split = make_split(dataset, SplitConfig(), np.random.default_rng(0))
    kept = np.arange(0, n_items, 2)
    smaller, _ = without_items(dataset, split, kept)
    graph = smaller.modalities[name]
    assert graph.neighbour_idx is not None
    assert graph.neighbour_cos is not None
    assert (graph.neighbour_idx[:, 0] == -1).all(), "the next item is gone"
    assert (graph.neighbour_cos[:, 0] == 0).all()
    np.testing.assert_array_equal(kept[graph.neighbour_idx[:, 1]], neighbours[kept, 1])


def test_users_who_are_gone_have_no_rows() -> None:
    dataset = planted_dataset()
    split = make_split(dataset, SplitConfig(), np.random.default_rng(0))
    gone = np.arange(len(dataset.users)) % 2 == 0
    left = without_users(split.train, gone)
    assert not left.lengths[gone].any()
    np.testing.assert_array_equal(left.lengths[~gone], split.train.lengths[~gone])
