"""Full ranking of all items for many users, while a model is being fitted."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.csr import Csr
from training.metrics import DEFAULT_KS, ranking_metrics, user_metrics

BLOCK = 1024
"""Users at a time: larger temporary buffers cost as much again in page faults."""


@torch.no_grad()
def rank_all(
    score: Callable[[NDArray[np.int64]], Tensor], users: NDArray[np.int64], masked: Csr, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k items of the largest scores, masked ones left out.

    Args:
        score: user_idx [b] → scores [b, I], which may be overwritten.
        users: [n] user_idx.
        masked: users × items that must not be ranked, usually train.
        k: cut at I.

    Returns:
        item_idx [n, k], -1 where fewer items are left, and their scores.
    """
    k_cut = min(k, masked.n_cols)
    item_idx = np.full((len(users), k), -1, np.int64)
    scores = np.full((len(users), k), -np.inf, np.float32)
    for start in range(0, len(users), BLOCK):
        block = users[start : start + BLOCK]
        block_scores = score(block)
        of_block = [masked.row(user) for user in block]
        row_numbers = np.repeat(np.arange(len(block)), [len(items) for items in of_block])
        block_scores[
            torch.from_numpy(row_numbers), torch.from_numpy(np.concatenate(of_block)).long()
        ] = -torch.inf
        best = torch.topk(block_scores, k_cut, dim=1)
        found = best.indices.masked_fill(best.values == -torch.inf, -1)
        item_idx[start : start + BLOCK, :k_cut] = found.cpu().numpy()
        scores[start : start + BLOCK, :k_cut] = best.values.cpu().numpy()
    return item_idx, scores


def evaluate_scores(
    score: Callable[[NDArray[np.int64]], Tensor],
    relevant: Csr,
    masked: Csr,
    ks: tuple[int, ...] = DEFAULT_KS,
) -> dict[str, float]:
    """Metrics over all users who have relevant items.

    Args:
        score: user_idx [b] → scores [b, I], which may be overwritten.
        relevant: users × items of the split that is evaluated.
        masked: users × items that must not be ranked.
        ks: cut-offs.
    """
    users = np.flatnonzero(relevant.lengths).astype(np.int64)
    item_idx, scores = rank_all(score, users, masked, max(ks) + 1)
    return ranking_metrics(item_idx, scores, relevant.select(users), ks=ks)


def evaluate_users(
    score: Callable[[NDArray[np.int64]], Tensor],
    relevant: Csr,
    masked: Csr,
    ks: tuple[int, ...] = DEFAULT_KS,
) -> dict[str, NDArray[np.float64]]:
    """`evaluate_scores` user by user: each metric [n] of those with relevant items, by user_idx."""
    users = np.flatnonzero(relevant.lengths).astype(np.int64)
    item_idx, scores = rank_all(score, users, masked, max(ks) + 1)
    return user_metrics(item_idx, scores, relevant.select(users), ks=ks)


def evaluate_vectors(
    users: Tensor, items: Tensor, relevant: Csr, masked: Csr, ks: tuple[int, ...] = DEFAULT_KS
) -> dict[str, float]:
    """`evaluate_scores` of inner products of users [U, D] and items [I, D]."""
    return evaluate_scores(inner_products(users, items), relevant, masked, ks)


def inner_products(users: Tensor, items: Tensor) -> Callable[[NDArray[np.int64]], Tensor]:
    """Scores [b, I] of vectors of users [U, D] and items [I, D]."""
    return lambda user_idx: users[torch.from_numpy(user_idx).to(users.device)] @ items.T
