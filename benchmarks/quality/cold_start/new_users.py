"""Recall for users who were held out of the fit entirely; see `benchmarks.quality.cold_start`."""

from typing import Any

import numpy as np
import torch

from benchmarks.quality.cold_start.holdouts import without_users
from benchmarks.quality.cold_start.new_items import Fit
from bundle.csr import Csr
from training.baselines.simple import item_cf, popularity
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.ranking import Score, evaluate_scores, inner_products

METRIC = "recall@20"
HISTORIES = (1, 3, 5)
"""Maximum numbers of a user's items that the encoder is given."""


def new_users(dataset: Dataset, split: Split, seed: int, fit: Fit) -> dict[str, Any]:
    """Metrics of one seed, by the number of items that are known of a user."""
    rng = np.random.default_rng(seed)
    eligible = np.flatnonzero((split.train.lengths > 0) & (split.test.lengths > 0))
    held = np.zeros(len(dataset.users), np.bool_)
    held[rng.permutation(eligible)[: max(len(eligible) // 5, 1)]] = True
    relevant = without_users(split.test, ~held)

    def recall(score: Score) -> float:
        return evaluate_scores(score, relevant, split.train)[METRIC]

    trained = fit(dataset, split)
    vectors = (torch.from_numpy(np.array(x)) for x in (trained.user_vectors, trained.item_vectors))
    found: dict[str, Any] = {
        "seed": seed,
        "users": int(held.sum()),
        "trained": recall(inner_products(*vectors)),
        "popularity": recall(popularity(split.train)),
    }
    parts = {n: without_users(getattr(split, n), held) for n in ("train", "valid", "test")}
    others = Split(**parts, how=split.how)
    bundle = fit(dataset, others)
    items = np.array(bundle.item_vectors)
    histories = {user: rng.permutation(split.train.row(int(user))) for user in np.flatnonzero(held)}
    rows, cols = others.train.pairs()
    for length in HISTORIES:
        folded = torch.zeros(len(dataset.users), items.shape[1])
        for user, history in histories.items():
            known = items[history[:length]][None]
            ones = np.ones(known.shape[:2], np.float32)
            encoded = bundle.user_encoder.encode(known, ones > 0, ones)
            folded[user] = torch.from_numpy(encoded[0])
        pairs = [(user, item) for user, history in histories.items() for item in history[:length]]
        more_rows, more_cols = np.array(pairs, np.int64).T
        train = Csr.from_pairs(
            np.append(rows, more_rows), np.append(cols, more_cols), len(held), len(items)
        )
        found[f"folded in from at most {length}"] = recall(
            inner_products(folded, torch.from_numpy(items))
        )
        found[f"item k-NN from at most {length}"] = recall(item_cf(train))
    return found
