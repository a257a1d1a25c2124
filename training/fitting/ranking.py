"""Evaluation during training: full ranking of all items for many users, on the model's device."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.csr import Csr
from training.data.split import Split
from training.evaluation.metrics import DEFAULT_KS, ranking_metrics, user_metrics

BLOCK = 1024
"""Maximum number of users per block."""
BLOCK_SCORES = 2**26
"""Maximum number of scores per block, 256 MiB. Larger buffers double the time through page faults;
smaller blocks of a million items read all items too often."""

MAX_SCORES = 2**28
"""Scores per epoch for valid metrics: 3 s of a core. Full rankings of a share of the users would
cost in proportion to users times items, more than training from 100,000 of each on."""
MIN_USERS = 2_000
"""Users that valid metrics are computed for, if there are so many. Of so many, the mean of
recall@20 has a standard error of about 0.006; the difference of two epochs has a smaller one."""


Score = Callable[[NDArray[np.int64]], Tensor]
"""Scores of users: user_idx [b] → [b, I], which may be overwritten."""
Ranking = tuple[NDArray[np.int64], NDArray[np.float32]]
"""item_idx [n, k] by descending score, padded with -1, and their scores."""


def rank_all(score: Score, users: NDArray[np.int64], masked: Csr, k: int) -> Ranking:
    """Top k items per user, masked items excluded.

    Args:
        score: of all items.
        users: [n] user_idx.
        masked: users × items to exclude, usually train.
        k: number of items, at most I are found.
    """
    return rank_sums(score, None, [0.0], users, masked, k)[0]


@torch.no_grad()
def rank_sums(
    score: Score,
    added: Score | None,
    weights: Sequence[float],
    users: NDArray[np.int64],
    masked: Csr,
    k: int,
) -> list[Ranking]:
    """Top k items per user by score + weight × added, for each weight; see `rank_all`.

    Both scores are computed once for all weights.
    """
    k_cut = min(k, masked.n_cols)
    found = [
        (np.full((len(users), k), -1, np.int64), np.full((len(users), k), -np.inf, np.float32))
        for _ in weights
    ]
    size = max(min(BLOCK, BLOCK_SCORES // max(masked.n_cols, 1)), 1)
    for start in range(0, len(users), size):
        block = users[start : start + size]
        scores = score(block)
        of_block = [masked.row(user) for user in block]
        row_numbers = np.repeat(np.arange(len(block)), [len(items) for items in of_block])
        scores[
            torch.from_numpy(row_numbers), torch.from_numpy(np.concatenate(of_block)).long()
        ] = -torch.inf
        more = None if added is None else added(block)
        for weight, (item_idx, best_scores) in zip(weights, found, strict=True):
            # Without a copy where nothing is added.
            both = scores if more is None or not weight else scores.add(more, alpha=weight)
            best = torch.topk(both, k_cut, dim=1)
            items = best.indices.masked_fill(best.values == -torch.inf, -1)
            item_idx[start : start + size, :k_cut] = items.cpu().numpy()
            best_scores[start : start + size, :k_cut] = best.values.cpu().numpy()
    return found


def watched_users(split: Split, most: int) -> tuple[int, int]:
    """Number of users that valid metrics are computed for after each epoch, and of all.

    Args:
        split: the split.
        most: maximum, `optim.valid_users`.
    """
    users = int(np.count_nonzero(split.valid.lengths))
    affordable = max(MIN_USERS, MAX_SCORES // max(split.valid.n_cols, 1))
    return min(users, most, affordable), users


def watched_split(split: Split, most: int, seed: int) -> Split:
    """The split with valid as metrics are computed for after each epoch; see `watched_users`."""
    sampled = of_sampled_users(split.valid, watched_users(split, most)[0], seed)
    return replace(split, valid=sampled)


def of_sampled_users(relevant: Csr, most: int, seed: int) -> Csr:
    """Relevant items of all users, or of a random sample of them; the other rows become empty.

    Args:
        relevant: users × items of the evaluated part.
        most: maximum number of users with relevant items.
        seed: of the sample.
    """
    users = np.flatnonzero(relevant.lengths)
    if len(users) <= most:
        return relevant
    sample = np.sort(np.random.default_rng(seed).choice(users, most, replace=False))
    lengths = np.zeros_like(relevant.lengths)
    lengths[sample] = relevant.lengths[sample]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return Csr(indptr, relevant.select(sample).indices, relevant.n_cols)


def evaluate_scores(
    score: Score, relevant: Csr, masked: Csr, ks: tuple[int, ...] = DEFAULT_KS
) -> dict[str, float]:
    """Metrics over all users with relevant items.

    Args:
        score: of all items.
        relevant: users × items of the evaluated part.
        masked: users × items to exclude from the ranking.
        ks: cut-offs.
    """
    return evaluate_sums(score, None, [0.0], relevant, masked, ks)[0]


def evaluate_sums(
    score: Score,
    added: Score | None,
    weights: Sequence[float],
    relevant: Csr,
    masked: Csr,
    ks: tuple[int, ...] = DEFAULT_KS,
) -> list[dict[str, float]]:
    """Metrics of score + weight × added, for each weight; see `evaluate_scores`."""
    users = np.flatnonzero(relevant.lengths).astype(np.int64)
    wanted = relevant.select(users)
    return [
        ranking_metrics(item_idx, scores, wanted, ks=ks)
        for item_idx, scores in rank_sums(score, added, weights, users, masked, max(ks) + 1)
    ]


def evaluate_users(
    score: Score, relevant: Csr, masked: Csr, ks: tuple[int, ...] = DEFAULT_KS
) -> dict[str, NDArray[np.float64]]:
    """Metrics per user, [n] each, of the users with relevant items in order of user_idx."""
    users = np.flatnonzero(relevant.lengths).astype(np.int64)
    item_idx, scores = rank_all(score, users, masked, max(ks) + 1)
    return user_metrics(item_idx, scores, relevant.select(users), ks=ks)


def evaluate_vectors(
    users: Tensor, items: Tensor, relevant: Csr, masked: Csr, ks: tuple[int, ...] = DEFAULT_KS
) -> dict[str, float]:
    """Metrics of the inner products of users [U, D] and items [I, D]; see `evaluate_scores`."""
    return evaluate_scores(inner_products(users, items), relevant, masked, ks)


def inner_products(users: Tensor, items: Tensor) -> Score:
    """Scores of users [U, D] and items [I, D]."""
    return lambda user_idx: users[torch.from_numpy(user_idx).to(users.device)] @ items.T
