"""Evaluation of a published bundle with the search code of the service."""

from dataclasses import dataclass

import numpy as np

from bundle.csr import Csr
from bundle.format.reader import Bundle
from bundle.search.options import RankingOptions
from bundle.search.recommender import Recommender
from bundle.search.topk import TopK
from bundle.sorted_sets import union
from training.data.dataset import Dataset
from training.evaluation.known_pairs import vectors_without
from training.evaluation.metrics import DEFAULT_KS, ranking_metrics
from training.evaluation.options_ranker import BLOCK, OptionsRanker, stacked
from training.evaluation.renumbering import renumbered


@dataclass(frozen=True)
class Evaluation:
    """Metrics over the users with relevant items.

    Attributes:
        metrics: by name, e.g. `recall@20`.
        n_users: number of evaluated users.
        unknown_users: how many of them are not in the bundle; they get popular items.
        unknown_items: relevant items that are not in the bundle; they count as missed.
        encoded_users: users with relevant items in the bundle, whose vector is therefore computed
            from the rest of their history.
    """

    metrics: dict[str, float]
    n_users: int
    unknown_users: int
    unknown_items: int
    encoded_users: int


def evaluate_bundle(
    bundle: Bundle,
    dataset: Dataset,
    relevant: Csr,
    masked: Csr,
    ks: tuple[int, ...] = DEFAULT_KS,
    options: RankingOptions | None = None,
) -> Evaluation:
    """Evaluate a bundle on all users with relevant items.

    Items of a user's history in the bundle are not ranked, unless they are relevant: then the user
    encoder computes the vector from the history without them, as the gate does. That is honest only
    if the model was not fitted on them (see `known_pairs`).

    Args:
        bundle: the bundle; its ids may be in another order than the data set's.
        dataset: defines the numbering of `relevant` and `masked`.
        relevant: users × items of the evaluated part.
        masked: users × items to exclude from the ranking, usually train.
        ks: cut-offs.
        options: options of each ranking, as of an experiment's arm; None for none. They are those
            of one request for max(ks) items.

    Raises:
        OptionError: an option does not fit the bundle.
    """
    ranker = OptionsRanker(Recommender(bundle), options, max(ks))
    users = np.flatnonzero(relevant.lengths)
    user_rows = bundle.users.rows([dataset.users[u] for u in users.tolist()])
    item_rows = bundle.items.rows(dataset.items.ids)
    wanted, hidden = (
        renumbered(m, np.ones(m.nnz, np.float32), item_rows, len(bundle.items))[0]
        for m in (relevant.select(users), masked.select(users))
    )
    tops: list[TopK] = []
    encoded = 0
    for start in range(0, len(users), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(users)))
        vectors, histories, again = vectors_without(bundle, user_rows[block], wanted.select(block))
        seen = [union(hidden.row(n), h) for n, h in zip(block.tolist(), histories, strict=True)]
        tops += ranker.rank(vectors, seen)
        encoded += again
    item_idx, scores = stacked(tops, max(ks) + 1)
    n_relevant = relevant.lengths[users]
    return Evaluation(
        metrics=ranking_metrics(item_idx, scores, wanted, n_relevant, ks),
        n_users=len(users),
        unknown_users=int((user_rows < 0).sum()),
        unknown_items=int(n_relevant.sum() - wanted.nnz),
        encoded_users=encoded,
    )
