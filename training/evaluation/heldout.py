"""Held-out interactions, and the rankings of bundles for the users who made them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue.overlay import Overlay
from bundle.csr import Csr
from bundle.events.history import encode_histories, same_history
from bundle.format.reader import Bundle
from bundle.ids import IdMap
from bundle.search.options import RankingOptions
from bundle.search.recommender import Recommender
from bundle.search.topk import TopK
from bundle.sorted_sets import unique
from training.data.dataset import Dataset
from training.data.split import Split
from training.evaluation.known_pairs import known_pairs, selected
from training.evaluation.metrics import ranking_metrics, user_metrics
from training.evaluation.options_ranker import BLOCK, OptionsRanker, stacked
from training.evaluation.renumbering import renumbered

K = 20
"""Cut-off of all metrics."""


@dataclass(frozen=True)
class HeldOut:
    """Held-out interactions of n users and their histories before, with J items.

    Attributes:
        users: ids of the users.
        items: ids of the items.
        history: n × J interactions before.
        weights: [nnz] weights of the history's interactions.
        relevant: n × J held-out interactions, disjoint from `history`.
    """

    users: list[str]
    items: IdMap
    history: Csr
    weights: NDArray[np.float32]
    relevant: Csr

    @classmethod
    def of_split(cls, dataset: Dataset, split: Split, most: int) -> "HeldOut":
        """Held-out interactions of a split: the test part, or valid if there is no test part.

        Args:
            dataset, split: the data and its split.
            most: maximum number of users; more are sampled.
        """
        part = split.test if split.test.nnz else split.valid
        users = np.flatnonzero((part.lengths > 0) & (split.train.lengths > 0))
        if len(users) > most:
            users = np.sort(np.random.default_rng(0).choice(users, most, replace=False))
        history = split.train.select(users)
        return cls(
            [dataset.users[user] for user in users.tolist()],
            dataset.items,
            history,
            np.ones(history.nnz, np.float32),
            part.select(users),
        )

    def unknown_to(self, bundle: Bundle) -> "HeldOut":
        """Without interactions that a bundle contains, and without users left with none."""
        known = known_pairs(bundle, self.users, self.items, self.relevant)
        relevant = selected(self.relevant, ~known)
        asked = np.flatnonzero(relevant.lengths)
        history = Csr(self.history.indptr, np.arange(self.history.nnz, dtype=np.int32), 0)
        return HeldOut(
            [self.users[user] for user in asked.tolist()],
            self.items,
            self.history.select(asked),
            self.weights[history.select(asked).indices],
            relevant.select(asked),
        )


@dataclass(frozen=True)
class Ranking:
    """Ranking of a bundle for the n users of a `HeldOut`.

    Attributes:
        metrics: over all users.
        per_user: each metric per user, [n].
        scores: [n, K + 1], padded with -inf.
        vectors: [n, D] user vectors.
        history: n × I interactions before, whose items were not returned.
    """

    metrics: dict[str, float]
    per_user: dict[str, NDArray[np.float64]]
    scores: NDArray[np.float32]
    vectors: NDArray[np.float32]
    history: Csr


def rank(
    bundle: Bundle,
    held_out: HeldOut,
    overlay: Overlay | None = None,
    options: RankingOptions | None = None,
) -> Ranking:
    """Rank a bundle's items for the users of a `HeldOut`.

    A user's vector is the bundle's if the bundle was built from exactly `held_out.history`;
    otherwise the user encoder computes it from that history.

    Args:
        bundle: the bundle.
        held_out: held-out interactions.
        overlay: item changes that apply to the bundle.
        options: options of each ranking; None for none.

    Raises:
        OptionError: an option does not fit the bundle.
    """
    recommender = Recommender(bundle, overlay)
    catalogue = recommender.catalogue
    row_of = catalogue.rows(held_out.items.ids)
    history, weights = renumbered(held_out.history, held_out.weights, row_of, len(catalogue))
    relevant, _ = renumbered(
        held_out.relevant, np.ones(held_out.relevant.nnz, np.float32), row_of, len(catalogue)
    )
    items = unique(history.indices)  # of a large catalogue a part
    places = np.searchsorted(items, history.indices).astype(np.int32)
    vectors = encode_histories(
        bundle.user_encoder, catalogue.vectors(items), history.indptr, places, weights
    )
    for n, user in enumerate(held_out.users):
        row = bundle.users.get(user)
        own = slice(history.indptr[n], history.indptr[n + 1])
        if row is not None and same_history(
            bundle.history(row), (history.indices[own], weights[own])
        ):
            vectors[n] = bundle.user_vectors[row]
    ranker = OptionsRanker(recommender, options, K)
    tops: list[TopK] = []
    for start in range(0, len(vectors), BLOCK):
        block = range(start, min(start + BLOCK, len(vectors)))
        tops += ranker.rank(vectors[start : block.stop], [history.row(n) for n in block])
    return _ranked(tops, relevant, held_out, vectors, history)


def rank_popular(
    bundle: Bundle, held_out: HeldOut, options: RankingOptions | None = None
) -> Ranking:
    """Rank a bundle's items by popularity, without counting the held-out interactions.

    Of the options, `filter` and `exclude_seen` apply.
    """
    row_of = bundle.items.rows(held_out.items.ids)
    ones = np.ones(held_out.relevant.nnz, np.float32)
    relevant, _ = renumbered(held_out.relevant, ones, row_of, len(bundle.items))
    history, _ = renumbered(held_out.history, held_out.weights, row_of, len(bundle.items))
    rows, cols = relevant.pairs()
    counts = np.array(bundle.popularity)
    for user, item in zip(rows.tolist(), cols.tolist(), strict=True):
        row = bundle.users.get(held_out.users[user])
        if row is not None and item in bundle.seen.row(row):
            counts[item] -= 1
    asked = options or RankingOptions()
    plain = RankingOptions(filter=asked.filter, exclude_seen=asked.exclude_seen)
    ranker = OptionsRanker(Recommender(replace(bundle, popularity=counts)), plain, K)
    tops = ranker.rank_popular([history.row(n) for n in range(history.n_rows)])
    none = np.empty((0, bundle.manifest.dim), np.float32)
    return _ranked(tops, relevant, held_out, none, history)


def _ranked(
    tops: list[TopK],
    relevant: Csr,
    held_out: HeldOut,
    vectors: NDArray[np.float32],
    history: Csr,
) -> Ranking:
    item_idx, scores = stacked(tops, K + 1)
    n_relevant = held_out.relevant.lengths
    return Ranking(
        ranking_metrics(item_idx, scores, relevant, n_relevant, (K,)),
        user_metrics(item_idx, scores, relevant, n_relevant, (K,)),
        scores,
        vectors,
        history,
    )
