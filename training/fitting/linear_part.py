"""Factory of the linear part from train interactions."""

import numpy as np
import torch
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.types import Floats
from models.config import ModelConfig
from models.linear import LinearPart, item_vectors
from training.data.scipy_matrix import as_scipy

MIN_INTERACTIONS = 5
"""Interactions below which an item has no linear part: too few for a regression."""
MAX_ITEMS = 8192
"""Items of the regression, the most popular ones; the others have no linear part. So many take
17 seconds of one core and 2 GB, and both grow with the square of the number or faster."""


def build_linear_part(train: Csr, config: ModelConfig) -> LinearPart | None:
    """The linear part, or None: by the configuration, or because items share no users."""
    counts = train.column_counts()
    n_items = min(MAX_ITEMS, (counts >= MIN_INTERACTIONS).sum())
    items = np.sort(np.argsort(-counts, kind="stable")[:n_items])
    if not config.linear_columns or not n_items:
        return None
    found = item_vectors(
        torch.from_numpy(weighted_gram(train, items)),
        config.linear_columns,
        config.linear_l2,
        config.linear_dropout,
    )
    if not found.any():
        return None
    vectors = torch.zeros(train.n_cols, found.shape[1])
    vectors[torch.from_numpy(items)] = found
    return LinearPart(vectors, torch.from_numpy(counts))


def weighted_gram(train: Csr, items: NDArray[np.integer]) -> Floats:
    """Products [n, n] float32 of some items' columns of interactions, summed over users.

    A user counts with 1/√|history|, relative to the mean of that over users: the longer a history,
    the less it says about what belongs together. With that and the dropout, the regression alone
    has a valid recall@20 of 0.096 on TikTok, where 103 users hold 71 % of the interactions, and of
    0.262 on MovieLens-1M; EASE has 0.090 and 0.256.
    """
    weights = np.maximum(train.lengths, 1) ** -0.5
    weights *= (train.lengths > 0).sum() / weights[train.lengths > 0].sum()
    chosen = as_scipy(train, np.sqrt(weights).astype(np.float32))[:, items]
    return np.asarray((chosen.T @ chosen).toarray(), np.float32)
