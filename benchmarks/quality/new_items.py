"""Recall of items that were held out of the fit entirely; see `benchmarks.quality.cold_start`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.quality.holdouts import columns, without_items, without_users
from bundle.csr import Csr
from bundle.format.reader import Bundle
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.ranking import Score, evaluate_scores, inner_products

Fit = Callable[[Dataset, Split], Bundle]
"""Fits a model on a data set and its split."""
METRIC = "recall@20"
BOOSTS = (-2.0, 2.0)
"""Range of the boost of new items; no two scores of the lines differ by more than 2."""
HALVINGS = 12
"""Steps of the search for the boost: its precision is 4 / 2¹² = 0.001."""
WARM_SHARE = 0.98
"""Share of their valid recall@20 that warm items keep under the chosen boost."""


def side_by_side(warm: Score, new: Score) -> Score:
    """Scores of the warm items, then of the new ones."""
    return lambda users: torch.cat([warm(users), new(users)], 1)


def empty(n_rows: int, n_cols: int) -> Csr:
    """A matrix without interactions."""
    return Csr(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32), n_cols)


def beside(warm: Csr, new: Csr) -> Csr:
    """Interactions with the warm items, then with the new ones."""
    rows, cols = (
        np.concatenate(pair)
        for pair in zip(warm.pairs(), (new.pairs()[0], new.pairs()[1] + warm.n_cols), strict=True)
    )
    return Csr.from_pairs(rows, cols, warm.n_rows, warm.n_cols + new.n_cols)


class NewItems:
    """Metrics of held-out items for the users who interacted with them.

    Args:
        warm: the split without the held-out items.
        relevant: users × held-out items; rows of users without warm train items are empty.
        part: part of the split for the warm items, `valid` or `test`.
    """

    def __init__(self, warm: Split, relevant: Csr, part: str) -> None:
        self.relevant = relevant
        self._train, self._warm = warm.train, getattr(warm, part)
        self._empty = empty(relevant.n_rows, relevant.n_cols)
        self._all = beside(empty(relevant.n_rows, warm.train.n_cols), relevant)
        self._masked = beside(warm.train, self._empty)
        self._warm_wide = beside(self._warm, self._empty)

    def metrics(self, warm: Score, new: Score) -> dict[str, float]:
        """Recall of new items among new and among all; of warm items without and with new ones."""
        everything = side_by_side(warm, new)
        return {
            "among_new": evaluate_scores(new, self.relevant, self._empty)[METRIC],
            "among_all": evaluate_scores(everything, self._all, self._masked)[METRIC],
            "warm_alone": self.warm_alone(warm),
            "warm": self.warm_beside(warm, new),
        }

    def warm_alone(self, warm: Score) -> float:
        """Recall of warm items among warm items."""
        return evaluate_scores(warm, self._warm, self._train)[METRIC]

    def warm_beside(self, warm: Score, new: Score) -> float:
        """Recall of warm items among all items."""
        return evaluate_scores(side_by_side(warm, new), self._warm_wide, self._masked)[METRIC]

    def last_place(self, warm: Score, new: Score) -> dict[str, float]:
        """As `metrics`, if the best new item took the last of each user's 20 places."""
        of_new = evaluate_scores(new, self.relevant, self._empty, (1, 20))
        of_warm = evaluate_scores(warm, self._warm, self._train, (19, 20))
        return {
            "among_new": of_new[METRIC],
            "among_all": of_new["recall@1"],
            "warm_alone": of_warm[METRIC],
            "warm": of_warm["recall@19"],
        }


def moments(scores: Tensor) -> tuple[float, float]:
    """Mean and standard deviation."""
    return float(scores.mean()), float(scores.std())


def shifted(score: Score, scale: float, offset: float) -> Score:
    """Scores after an affine map, scale · score + offset."""
    return lambda users: score(users) * scale + offset


def profiles(dataset: Dataset, train: Csr) -> Tensor:
    """User profiles of raw k-NN: the mean of the unit features of a user's items, [U, ΣF_m]."""
    content = unit_features(dataset)
    rows, cols = (torch.from_numpy(x).long() for x in train.pairs())
    total = torch.zeros(train.n_rows, content.shape[1]).index_add_(0, rows, content[cols])
    return total / torch.from_numpy(train.lengths).clamp_min(1).unsqueeze(1)


def unit_features(dataset: Dataset) -> Tensor:
    """Features of all modalities side by side, [I, ΣF_m]; inner products sum their cosines."""
    parts = [torch.from_numpy(m.features) for m in dataset.modalities.values()]
    return torch.cat([F.normalize(x, dim=1) for x in parts], 1)


def highest_boost(part: NewItems, warm: Score, new: Score) -> float:
    """Largest boost of new items that leaves warm items WARM_SHARE of their recall."""
    enough = WARM_SHARE * part.warm_alone(warm)
    low, high = BOOSTS  # the recall of warm items falls as the boost rises
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        left = part.warm_beside(warm, shifted(new, 1.0, middle))
        low, high = (middle, high) if left >= enough else (low, middle)
    return low


def new_items(dataset: Dataset, split: Split, seed: int, fit: Fit) -> dict[str, Any]:
    """Metrics of one seed, by way of scoring."""
    order = np.random.default_rng(seed).permutation(len(dataset.items))
    tenth = len(order) // 10
    held = {"valid": order[:tenth], "test": order[tenth : 2 * tenth]}
    kept = np.sort(order[2 * tenth :])
    warm_data, warm = without_items(dataset, split, kept)
    bundle = fit(warm_data, warm)
    unknown = warm.train.lengths == 0
    parts = {
        part: NewItems(warm, without_users(columns(getattr(split, part), items), unknown), part)
        for part, items in held.items()
    }
    users, warm_items = (
        torch.from_numpy(np.array(x)) for x in (bundle.user_vectors, bundle.item_vectors)
    )
    names = list(bundle.manifest.modalities)
    chosen = [dataset.modalities[name] for name in names]
    encoded = {
        part: torch.from_numpy(
            bundle.item_encoder.encode(
                {n: m.features[items] for n, m in zip(names, chosen, strict=True)},
                np.stack([m.present[items] for m in chosen], 1),
            )
        )
        for part, items in held.items()
    }

    content, profile = unit_features(dataset), profiles(warm_data, warm.train)
    known = inner_products(users, warm_items)
    ours = {part: inner_products(users, vectors) for part, vectors in encoded.items()}
    nearest = {part: inner_products(profile, content[items]) for part, items in held.items()}
    asked = np.flatnonzero(parts["valid"].relevant.lengths)
    mean, spread = moments(ours["valid"](asked))
    raw_mean, raw_spread = moments(nearest["valid"](asked))
    scaled = {
        part: shifted(score, spread / raw_spread, mean - raw_mean * spread / raw_spread)
        for part, score in nearest.items()
    }

    def boosted(new: dict[str, Score], part: str, boost: float) -> dict[str, float]:
        return parts[part].metrics(known, shifted(new[part], 1.0, boost))

    boost = highest_boost(parts["valid"], known, ours["valid"])
    boost_of_nearest = highest_boost(parts["valid"], known, scaled["valid"])
    n_new = len(held["test"])
    return {
        "seed": seed,
        "boost": boost,
        "boost of k-NN": boost_of_nearest,
        "pairs": int(parts["test"].relevant.nnz),
        "valid": boosted(ours, "valid", boost),
        "DRepMRec": boosted(ours, "test", boost),
        "DRepMRec, nothing added": boosted(ours, "test", 0.0),
        "DRepMRec, the last place for a new item": parts["test"].last_place(known, ours["test"]),
        "DRepMRec, raw k-NN for new items": boosted(scaled, "test", boost_of_nearest),
        "raw k-NN": parts["test"].metrics(inner_products(profile, content[kept]), nearest["test"]),
        # New items have no interactions: tied among themselves, last among all.
        "popularity": {"among_new": min(20 / n_new, 1.0), "among_all": 0.0},
    }
