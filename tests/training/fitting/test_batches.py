"""Batches of an epoch: what they cover, and that processes share the same draws."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from bundle.csr import Csr
from models.trainable import Batch, HistoryBatch
from training.fitting.batches import EpochBatches, epoch_batches
from training.fitting.config import load_config

ITEMS = 30
TRAIN = Csr.from_pairs(
    np.repeat(np.arange(12), [0, 1, *range(2, 12)]),
    np.concatenate([np.arange(n) * 2 for n in range(12)]),
    12,
    ITEMS,
)


def epoch(ranking: str, rank: int = 0, size: int = 1) -> EpochBatches:
    config = load_config(
        None, [f"model.ranking={ranking}", "optim.batch_users=4", "optim.batch_size=16"]
    )
    generator = torch.Generator().manual_seed(5)
    return epoch_batches(
        TRAIN, config, generator, lambda step: step[rank::size], torch.device("cpu")
    )


def test_an_epoch_of_interactions_has_each_pair_once() -> None:
    batches = epoch("softmax")
    found = list(batches)
    assert len(found) == len(batches) == -(-TRAIN.nnz // 16)
    pairs = set()
    for batch in found:
        assert isinstance(batch, Batch)
        assert len(batch.negatives) == 1024
        pairs |= set(zip(batch.user_idx.tolist(), batch.item_idx.tolist(), strict=True))
    assert pairs == set(zip(*(idx.tolist() for idx in TRAIN.pairs()), strict=True))


def split_histories(batches: EpochBatches) -> dict[int, tuple[set[int], set[int]]]:
    found = {}
    for batch in batches:
        assert isinstance(batch, HistoryBatch)
        for row, user in enumerate(batch.user_idx.tolist()):
            assert user not in found
            known, wanted = (
                set(items[of_row == row].tolist()) for of_row, items in (batch.known, batch.wanted)
            )
            found[user] = known, wanted
        for of_row, _ in batch.known, batch.wanted:
            assert all(one <= two for one, two in pairwise(of_row.tolist()))
    return found


def test_an_epoch_of_histories_splits_each_one() -> None:
    batches = epoch("multinomial")
    assert len(batches) == 3
    found = split_histories(batches)
    assert sorted(found) == list(range(2, 12))  # those with two items or more
    for user, (known, wanted) in found.items():
        assert known
        assert wanted
        assert not known & wanted
        assert known | wanted == set(TRAIN.row(user).tolist())
    assert split_histories(batches) != found  # drawn anew


@pytest.mark.parametrize("size", [2, 3])
def test_processes_split_the_users_of_a_step_and_draw_the_same(size: int) -> None:
    whole = split_histories(epoch("multinomial"))
    parts = [split_histories(epoch("multinomial", rank, size)) for rank in range(size)]
    assert sum(map(len, parts)) == len(whole)
    assert {user: sides for part in parts for user, sides in part.items()} == whole
