"""Rankings in blocks of users, and samples of users."""

import numpy as np
import pytest
import torch

from bundle.csr import Csr
from training.data.split import Split
from training.fitting import ranking
from training.fitting.ranking import (
    evaluate_users,
    inner_products,
    of_sampled_users,
    rank_all,
    rank_sums,
    watched_split,
    watched_users,
)

N_USERS, N_ITEMS = 50, 40


def random_csr(n: int, seed: int) -> Csr:
    rng = np.random.default_rng(seed)
    return Csr.from_pairs(
        rng.integers(N_USERS, size=n), rng.integers(N_ITEMS, size=n), N_USERS, N_ITEMS
    )


def vectors(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Small integers, so that scores are exact and many are equal."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.randint(-2, 3, (N_USERS, 4), generator=generator)
    return users.float(), torch.randint(-2, 3, (N_ITEMS, 4), generator=generator).float()


@pytest.mark.parametrize(("limit", "largest"), [(2**26, N_USERS), (7 * N_ITEMS + 1, 7), (1, 1)])
def test_blocks_are_bounded_and_do_not_change_the_result(
    monkeypatch: pytest.MonkeyPatch, limit: int, largest: int
) -> None:
    users, items = vectors(0)
    score, masked, all_users = inner_products(users, items), random_csr(300, 1), np.arange(N_USERS)
    whole = rank_all(score, all_users, masked, 21)
    sizes = []

    def counted(block: np.ndarray) -> torch.Tensor:
        sizes.append(len(block))
        return score(block)

    monkeypatch.setattr(ranking, "BLOCK_SCORES", limit)
    parts = rank_all(counted, all_users, masked, 21)
    assert max(sizes) == largest
    assert sum(sizes) == N_USERS
    assert np.array_equal(whole[0], parts[0])
    assert np.array_equal(whole[1], parts[1])


def test_sums_are_ranked_as_if_each_were_a_score_of_its_own() -> None:
    (users, items), (other_users, other_items) = vectors(0), vectors(1)
    score, added = inner_products(users, items), inner_products(other_users, other_items)
    masked, some = random_csr(300, 1), np.arange(3, N_USERS)
    calls = []

    def counted(block: np.ndarray) -> torch.Tensor:
        calls.append(len(block))
        return score(block)

    weights = [0.0, 0.5, 2.0]
    for weight, found in zip(
        weights, rank_sums(counted, added, weights, some, masked, 21), strict=True
    ):
        alone = rank_all(
            lambda block, w=weight: score(block) + w * added(block),  # type: ignore[misc]
            some,
            masked,
            21,
        )
        assert np.array_equal(found[0], alone[0])
        assert np.array_equal(found[1], alone[1])
    assert sum(calls) == len(some), "scores are computed once for all weights"


def test_a_block_of_the_largest_catalogues_is_a_quarter_gibibyte() -> None:
    assert ranking.BLOCK_SCORES * 4 == 256 * 2**20
    assert ranking.BLOCK_SCORES // ranking.BLOCK == 65_536  # items up to which nothing changes


def test_a_sample_of_users_keeps_their_relevant_items() -> None:
    relevant, masked = random_csr(60, 2), random_csr(300, 1)
    users = np.flatnonzero(relevant.lengths)
    assert of_sampled_users(relevant, len(users), 0) is relevant
    sample = of_sampled_users(relevant, 10, 0)
    chosen = np.flatnonzero(sample.lengths)
    assert len(chosen) == 10
    assert sample.n_rows == N_USERS
    assert all(np.array_equal(sample.row(u), relevant.row(u)) for u in chosen.tolist())
    again, other = of_sampled_users(relevant, 10, 0), of_sampled_users(relevant, 10, 1)
    assert np.array_equal(again.indptr, sample.indptr)
    assert not np.array_equal(other.indptr, sample.indptr)
    score = inner_products(*vectors(0))
    whole, part = (evaluate_users(score, r, masked)["recall@20"] for r in (relevant, sample))
    assert np.array_equal(part, whole[np.isin(users, chosen)])


def test_valid_metrics_do_not_grow_with_users_times_items(monkeypatch: pytest.MonkeyPatch) -> None:
    valid = random_csr(60, 2)
    split = Split(valid, valid, valid, "by nothing")
    users = int(np.count_nonzero(valid.lengths))
    assert watched_users(split, users) == (users, users)
    assert watched_users(split, 7) == (7, users)
    monkeypatch.setattr(ranking, "MIN_USERS", 4)
    monkeypatch.setattr(ranking, "MAX_SCORES", 6 * valid.n_cols)
    assert watched_users(split, users) == (6, users)
    assert np.count_nonzero(watched_split(split, users, 0).valid.lengths) == 6
    monkeypatch.setattr(ranking, "MAX_SCORES", valid.n_cols)
    assert watched_users(split, users) == (4, users)
