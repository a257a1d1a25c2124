"""Interactions that judge a bundle, and what it recommends without knowing them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.history import encode_histories, same_history
from bundle.ids import IdMap
from bundle.loading import Bundle
from bundle.overlay import Overlay
from bundle.recommender import Recommender
from bundle.topk import TopK
from training.dataset import Dataset
from training.metrics import ranking_metrics, user_metrics
from training.split import Split

K = 20
BLOCK = 256
"""Users that are asked for at a time."""


@dataclass(frozen=True)
class HeldOut:
    """What n users did next, and what they did before; under a numbering of J items.

    Attributes:
        users: their ids.
        items: the J items.
        history: n × J, what they did before.
        weights: [nnz of history] what each of it counts.
        relevant: n × J, what they did next; nothing of it is in `history`.
    """

    users: list[str]
    items: IdMap
    history: Csr
    weights: NDArray[np.float32]
    relevant: Csr

    @classmethod
    def of_split(cls, dataset: Dataset, split: Split, most: int) -> "HeldOut":
        """The test part of a split, its valid part if there is no test, of `most` users at most."""
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
        """Without what a bundle was made from, and without users of whom nothing is left then."""
        rows, cols = self.relevant.pairs()
        kept = np.ones(len(rows), np.bool_)
        item_rows = bundle.items.rows(self.items.ids)
        user_rows = bundle.users.rows(self.users)
        for place, (user, item) in enumerate(zip(rows.tolist(), cols.tolist(), strict=True)):
            if user_rows[user] >= 0 and item_rows[item] >= 0:
                kept[place] = item_rows[item] not in bundle.seen.row(user_rows[user])
        relevant = Csr.from_pairs(rows[kept], cols[kept], len(self.users), len(self.items))
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
class Ranked:
    """What a bundle recommends to the n users of a `HeldOut`.

    Attributes:
        metrics: over all of them.
        per_user: each metric [n].
        scores: [n, K + 1], -inf where there are no more items.
        vectors: [n, D], the users'.
    """

    metrics: dict[str, float]
    per_user: dict[str, NDArray[np.float64]]
    scores: NDArray[np.float32]
    vectors: NDArray[np.float32]


def rank(bundle: Bundle, held_out: HeldOut, overlay: Overlay | None = None) -> Ranked:
    """What a bundle, with changes of items on top, recommends to the users of a `HeldOut`."""
    recommender = Recommender(bundle, overlay)
    catalogue = recommender.catalogue
    row_of = catalogue.rows(held_out.items.ids)
    history, weights = _renumbered(held_out.history, held_out.weights, row_of, len(catalogue))
    relevant, _ = _renumbered(
        held_out.relevant, np.ones(held_out.relevant.nnz, np.float32), row_of, len(catalogue)
    )
    item_vectors = np.concatenate([bundle.item_vectors, catalogue.overlay.vectors])
    vectors = encode_histories(
        bundle.user_encoder, item_vectors, history.indptr, history.indices, weights
    )
    for n, user in enumerate(held_out.users):
        row = bundle.users.get(user)
        own = slice(history.indptr[n], history.indptr[n + 1])
        if row is not None and same_history(
            bundle.history(row), (history.indices[own], weights[own])
        ):
            vectors[n] = bundle.user_vectors[row]
    tops = []
    for start in range(0, len(vectors), BLOCK):
        block = range(start, min(start + BLOCK, len(vectors)))
        found = recommender.search(
            vectors[start : block.stop], K + 1, [history.row(n) for n in block]
        )
        for n, top in zip(block, found, strict=True):
            known = vectors[n].any()
            tops.append(top if known else recommender.popular(K + 1, history.row(n)))
    return _ranked(tops, relevant, held_out, vectors)


def rank_popular(bundle: Bundle, held_out: HeldOut) -> Ranked:
    """The most popular items of a bundle, the held-out interactions left out of the counts."""
    row_of = bundle.items.rows(held_out.items.ids)
    ones = np.ones(held_out.relevant.nnz, np.float32)
    relevant, _ = _renumbered(held_out.relevant, ones, row_of, len(bundle.items))
    history, _ = _renumbered(held_out.history, held_out.weights, row_of, len(bundle.items))
    rows, cols = relevant.pairs()
    counts = np.array(bundle.popularity)
    for user, item in zip(rows.tolist(), cols.tolist(), strict=True):
        row = bundle.users.get(held_out.users[user])
        if row is not None and item in bundle.seen.row(row):
            counts[item] -= 1
    recommender = Recommender(replace(bundle, popularity=counts))
    tops = [recommender.popular(K + 1, history.row(n)) for n in range(history.n_rows)]
    return _ranked(tops, relevant, held_out, np.empty((0, bundle.manifest.dim), np.float32))


def _ranked(
    tops: list[TopK], relevant: Csr, held_out: HeldOut, vectors: NDArray[np.float32]
) -> Ranked:
    item_idx = np.full((len(tops), K + 1), -1, np.int64)
    scores = np.full((len(tops), K + 1), -np.inf, np.float32)
    for n, top in enumerate(tops):
        item_idx[n, : len(top.item_idx)] = top.item_idx
        scores[n, : len(top.scores)] = top.scores
    n_relevant = held_out.relevant.lengths
    return Ranked(
        ranking_metrics(item_idx, scores, relevant, n_relevant, (K,)),
        user_metrics(item_idx, scores, relevant, n_relevant, (K,)),
        scores,
        vectors,
    )


def _renumbered(
    matrix: Csr, weights: NDArray[np.float32], row_of: NDArray[np.int32], n_items: int
) -> tuple[Csr, NDArray[np.float32]]:
    """The same with other item_idx; items that are -1 in row_of [J] are left out."""
    rows, cols = matrix.pairs()
    renumbered = row_of[cols]
    known = renumbered >= 0
    order = np.lexsort((renumbered[known], rows[known]))
    found = Csr.from_pairs(rows[known], renumbered[known], matrix.n_rows, n_items)
    return found, weights[known][order]
