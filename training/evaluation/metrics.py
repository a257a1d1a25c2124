"""Ranking metrics over full rankings: recall, precision, NDCG, MAP and coverage.

For a user with T relevant items and hits at ranks r (from 1) in the top k:
recall@k = hits / T; precision@k = hits / k; ndcg@k = Σ 1/log₂(r+1) over the hits, divided by the
same sum over ranks 1…min(T, k); map@k = Σ precision@r over the hits / min(T, k). All are means over
users with T > 0. coverage@k is the fraction of the catalogue in at least one user's top k.

Ties count against the model: irrelevant items come first, and a relevant item that ties with the
first item beyond the cut does not count.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.sorted_sets import is_member, unique

DEFAULT_KS = (10, 20)


def pessimistic_hits(
    item_idx: NDArray[np.integer], scores: NDArray[np.floating], is_relevant: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Hits among the first K ranks, with ties resolved against the model.

    Args:
        item_idx: [B, K + 1] by descending score, padded with -1.
        scores: [B, K + 1].
        is_relevant: [B, K + 1].

    Returns:
        [B, K].
    """
    scores = np.where(item_idx < 0, -np.inf, scores)
    order = np.lexsort((is_relevant, -scores), axis=1)
    hits = np.take_along_axis(is_relevant, order, 1)[:, :-1]
    tied_with_next = np.take_along_axis(scores, order, 1)[:, :-1] == scores[:, -1:]
    return np.asarray(hits & ~(tied_with_next & (item_idx[:, -1:] >= 0)))


def contained(relevant: Csr, item_idx: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Membership of item_idx [n_rows, K] in the same row of `relevant`, [n_rows, K]."""
    row_numbers, columns = relevant.pairs()
    keys = row_numbers.astype(np.int64) * relevant.n_cols + columns
    wanted = np.arange(len(item_idx))[:, None] * relevant.n_cols + item_idx
    return is_member(wanted, keys) & (item_idx >= 0)


def user_metrics(
    item_idx: NDArray[np.integer],
    scores: NDArray[np.floating],
    relevant: Csr,
    n_relevant: NDArray[np.integer] | None = None,
    ks: Sequence[int] = DEFAULT_KS,
) -> dict[str, NDArray[np.float64]]:
    """Metrics per user at each k; arguments as in `ranking_metrics`.

    Returns:
        `recall@k`, `ndcg@k`, `precision@k`, `map@k`, [B] each.
    """
    hits = pessimistic_hits(item_idx, scores, contained(relevant, item_idx)).astype(np.float64)
    n_relevant = relevant.lengths if n_relevant is None else n_relevant
    ranks = np.arange(1, hits.shape[1] + 1)
    discounts = 1 / np.log2(ranks + 1)
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    precision_at = np.cumsum(hits, 1) / ranks
    metrics: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        first, best = hits[:, :k], np.minimum(n_relevant, k)
        metrics[f"recall@{k}"] = first.sum(1) / n_relevant
        metrics[f"ndcg@{k}"] = (first * discounts[:k]).sum(1) / ideal[best]
        metrics[f"precision@{k}"] = first.mean(1)
        metrics[f"map@{k}"] = (first * precision_at[:, :k]).sum(1) / best
    return metrics


def ranking_metrics(
    item_idx: NDArray[np.integer],
    scores: NDArray[np.floating],
    relevant: Csr,
    n_relevant: NDArray[np.integer] | None = None,
    ks: Sequence[int] = DEFAULT_KS,
) -> dict[str, float]:
    """Metrics over all users at each k.

    Args:
        item_idx: [B, max(ks) + 1] for users with relevant items, by descending score, padded with
            -1.
        scores: [B, max(ks) + 1].
        relevant: B × I relevant items of the same users.
        n_relevant: [B] T per user, if some relevant items are not among the I items; by default the
            row lengths of `relevant`.
        ks: cut-offs.

    Returns:
        `recall@k`, `ndcg@k`, `precision@k`, `map@k`, `coverage@k`.
    """
    per_user = user_metrics(item_idx, scores, relevant, n_relevant, ks)
    metrics: dict[str, float] = {}
    for k in ks:
        own = (f"{name}@{k}" for name in ("recall", "ndcg", "precision", "map"))
        metrics |= {name: float(per_user[name].mean()) for name in own}
        shown = unique(item_idx[:, :k][item_idx[:, :k] >= 0])
        metrics[f"coverage@{k}"] = len(shown) / relevant.n_cols
    return metrics
