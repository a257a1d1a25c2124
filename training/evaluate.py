"""Metrics of a published bundle, through the code that serves, and of baselines beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.loading import Bundle
from bundle.recommender import Recommender
from training.dataset import Dataset
from training.metrics import DEFAULT_KS, ranking_metrics

BLOCK = 256
"""Users that are asked for at a time."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics over the users with relevant items.

    Attributes:
        metrics: `recall@k` and so on.
        n_users: users that were evaluated.
        unknown_users: those of them whom the bundle does not know; they get popular items.
        unknown_items: relevant items that the bundle does not know; they count as missed.
    """

    metrics: dict[str, float]
    n_users: int
    unknown_users: int
    unknown_items: int


def evaluate_bundle(
    bundle: Bundle,
    dataset: Dataset,
    relevant: Csr,
    masked: Csr,
    ks: tuple[int, ...] = DEFAULT_KS,
) -> Evaluation:
    """Ask the recommender for everyone who has relevant items.

    Args:
        bundle: what is evaluated; its ids need not be in the data set's order.
        dataset: whose numbering `relevant` and `masked` use.
        relevant: users × items of the split.
        masked: users × items that must not be recommended, usually train.
        ks: cut-offs.
    """
    recommender = Recommender(bundle)
    users = np.flatnonzero(relevant.lengths)
    user_rows = bundle.users.rows([dataset.users[u] for u in users.tolist()])
    item_rows = bundle.items.rows(dataset.items.ids)
    wanted, hidden = (_renumbered(m.select(users), item_rows, bundle) for m in (relevant, masked))
    k = max(ks) + 1
    item_idx = np.full((len(users), k), -1, np.int64)
    scores = np.full((len(users), k), -np.inf, np.float32)
    for start in range(0, len(users), BLOCK):
        block = range(start, min(start + BLOCK, len(users)))
        known = [b for b in block if user_rows[b] >= 0]
        results = dict(
            zip(
                known,
                recommender.recommend(user_rows[known], k, [hidden.row(b) for b in known]),
                strict=True,
            )
        )
        for b in block:
            top = results.get(b) or recommender.popular(k, hidden.row(b))
            item_idx[b, : len(top.item_idx)] = top.item_idx
            scores[b, : len(top.scores)] = top.scores
    n_relevant = relevant.lengths[users]
    return Evaluation(
        metrics=ranking_metrics(item_idx, scores, wanted, n_relevant, ks),
        n_users=len(users),
        unknown_users=int((user_rows < 0).sum()),
        unknown_items=int(n_relevant.sum() - wanted.nnz),
    )


def _renumbered(matrix: Csr, item_rows: NDArray[np.int32], bundle: Bundle) -> Csr:
    """The same matrix with the bundle's item_idx; items that it does not know are dropped."""
    rows, cols = matrix.pairs()
    cols = item_rows[cols]
    known = cols >= 0
    return Csr.from_pairs(rows[known], cols[known], matrix.n_rows, len(bundle.items))
