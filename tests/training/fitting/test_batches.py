"""Batches of an epoch: what they cover, and that processes share the same draws."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from bundle.csr import Csr
from models.trainable import Batch, HistoryBatch
from training.fitting.batches import (
    EpochBatches,
    epoch_batches,
    users_per_step,
)
from training.fitting.config import load_config

ITEMS = 30
TRAIN = Csr.from_pairs(
    np.repeat(np.arange(12), [0, 1, *range(2, 12)]),
    np.concatenate([np.arange(n) * 2 for n in range(12)]),
    12,
    ITEMS,
)


def epoch(parts: int, rank: int = 0, size: int = 1, *more: str) -> EpochBatches:
    assignments = [f"model.history_parts={parts}", "model.negatives=20", *more]
    config = load_config(None, [*assignments, "optim.batch_users=4", "optim.batch_size=16"])
    generator = torch.Generator().manual_seed(5)
    return epoch_batches(
        TRAIN, config, generator, lambda step: step[rank::size], torch.device("cpu"), parts > 0
    )


def test_an_epoch_of_interactions_has_each_pair_once() -> None:
    batches = epoch(0)
    found = list(batches)
    assert len(found) == len(batches) == -(-TRAIN.nnz // 16)
    pairs = set()
    for batch in found:
        assert isinstance(batch, Batch)
        assert len(batch.negatives) == 20
        pairs |= set(zip(batch.user_idx.tolist(), batch.item_idx.tolist(), strict=True))
    assert pairs == set(zip(*(idx.tolist() for idx in TRAIN.pairs()), strict=True))


def split_histories(batches: EpochBatches) -> dict[int, list[set[int]]]:
    """The parts of each user's history."""
    found: dict[int, list[set[int]]] = {}
    for batch in batches:
        assert isinstance(batch, HistoryBatch)
        assert not set(batch.user_idx.tolist()) & found.keys()
        for numbers in batch.user_of_part, batch.part:
            assert all(one <= two for one, two in pairwise(numbers.tolist()))
        for part, owner in enumerate(batch.user_of_part):
            items = batch.item_idx[batch.part == part].tolist()
            assert len(items) == len(set(items)) > 0
            found.setdefault(int(batch.user_idx[owner]), []).append(set(items))
        assert len(batch.part) == len(batch.item_idx)
        assert len(batch.negatives.unique()) == len(batch.negatives) == 20
    return found


@pytest.mark.parametrize("parts", [2, 4, 100])
def test_an_epoch_of_histories_splits_each_one(parts: int) -> None:
    batches = epoch(parts)
    assert len(batches) == 3
    found = split_histories(batches)
    assert sorted(found) == list(range(2, 12))  # those with two items or more
    for user, of_user in found.items():
        assert len(of_user) == min(parts, user)
        assert max(map(len, of_user)) - min(map(len, of_user)) <= 1
        assert set.union(*of_user) == set(TRAIN.row(user).tolist())
    assert split_histories(batches) != found  # drawn anew


@pytest.mark.parametrize("size", [2, 3])
def test_processes_split_the_users_of_a_step_and_draw_the_same(size: int) -> None:
    whole = split_histories(epoch(3))
    of_processes = [split_histories(epoch(3, rank, size)) for rank in range(size)]
    assert sum(map(len, of_processes)) == len(whole)
    assert {user: parts for of in of_processes for user, parts in of.items()} == whole


def test_the_negatives_are_all_items_where_there_are_no_more() -> None:
    batch = next(iter(epoch(2, 0, 1, "model.negatives=100")))
    assert sorted(batch.negatives.tolist()) == list(range(ITEMS))


def test_steps_grow_with_the_data() -> None:
    assert len(epoch(2, 0, 1, "optim.max_steps=2")) == 2
    few, many = (
        load_config(None, ["model.history_parts=2", "optim.batch_users=4", f"optim.max_steps={n}"])
        for n in (1, 50)
    )
    assert users_per_step(TRAIN, few) == 10
    assert users_per_step(TRAIN, many) == 4
