"""Recall of items that were held out of the fit entirely; see `benchmarks.quality.cold_start`.

Known items have interactions, new ones content alone. A boost, the same for all new items and
users, decides how many places of a list they take from known ones. As it rises, each relevant known
item leaves the top K at one boost, and each relevant new one enters at one: both follow from the
top K of the known and of the new items, without ranking them together for each boost.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks.quality.cold_start.holdouts import columns, without_items, without_users
from bundle.csr import Csr
from bundle.format.reader import Bundle
from training.data.dataset import Dataset
from training.data.split import Split
from training.evaluation.bootstrap import paired_bootstrap
from training.evaluation.metrics import contained
from training.fitting.ranking import Ranking, Score, evaluate_users, inner_products, rank_all

Fit = Callable[[Dataset, Split], Bundle]
"""Fits a model on a data set and its split."""
K = 20
"""Length of the lists."""
KEPT = (0.99, 0.98, 0.95, 0.90)
"""Shares of their valid recall@20 that known items keep under the chosen boosts."""
SHORT = (1, 5, K)
"""Lengths of the lists of new items alone."""
OURS, NEAREST_INSTEAD, NEAREST = "DRepMRec", "DRepMRec, raw k-NN for new items", "raw k-NN"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Relevant items of one part of the split, `valid` or `test`, and the train items.

    Attributes:
        train: users × known items; not to be recommended.
        known: users × known items, relevant.
        new: users × new items, relevant; rows of users without train items are empty.
    """

    train: Csr
    known: Csr
    new: Csr

    @property
    def nothing(self) -> Csr:
        """Users × new items, none: no user has any in train."""
        new = self.new
        return Csr(np.zeros(new.n_rows + 1, np.int64), np.empty(0, np.int32), new.n_cols)


@dataclass(frozen=True)
class Moves:
    """Boosts at which the relevant items of a part move, for one way of scoring.

    Attributes:
        leaves: users × known items that leave the top K at this boost; +inf: never.
        enters: users × new items that enter it above this boost; -inf: they are always in it.
        part: the part.
    """

    leaves: tuple[NDArray[np.int64], Floats]
    enters: tuple[NDArray[np.int64], Floats]
    part: Part

    def known_recall(self, boost: float) -> Floats:
        """Recall@K of the known items [U] beside new ones; NaN for users without relevant ones."""
        users, at = self.leaves
        return _share(users[at > boost], self.part.known)

    def new_recall(self, boost: float) -> Floats:
        """Recall@K of the new items [U] beside known ones."""
        users, at = self.enters
        return _share(users[at < boost], self.part.new)

    def recall(self, boost: float) -> Floats:
        """Recall@K of known and new items together [U]."""
        with np.errstate(invalid="ignore"):
            hits = np.nan_to_num(self.known_recall(boost)) * self.part.known.lengths
            hits += np.nan_to_num(self.new_recall(boost)) * self.part.new.lengths
            return np.asarray(hits / (self.part.known.lengths + self.part.new.lengths))

    def boost_that_keeps(self, share: float) -> float:
        """Largest boost that leaves known items a share of their recall@K without new ones."""
        users, at = self.leaves
        weight = 1 / self.part.known.lengths[users]
        order = np.argsort(at)
        lost = np.cumsum(weight[order])
        first = int(np.searchsorted(lost, (1 - share) * weight.sum() * (1 + 1e-9), "right"))
        if first == len(at) or np.isinf(at[order[first]]):
            return float(np.finfo(np.float32).max)
        return float(np.nextafter(at[order[first]], -np.inf))


def moves(known: Score, new: Score, part: Part) -> Moves:
    """Boosts at which a part's relevant items leave or enter; equal scores count against them."""
    users = np.flatnonzero(part.known.lengths + part.new.lengths).astype(np.int64)
    of_known, of_new = (
        rank_all(known, users, part.train, K + 1),
        rank_all(new, users, part.nothing, K + 1),
    )
    # A known item at place r leaves once the new item at place K - 1 - r is as good.
    leaving, leaves = _crossings(of_known, of_new[1], part.known, users)
    entering, enters = _crossings(of_new, of_known[1], part.new, users)
    return Moves((leaving, leaves), (entering, -enters), part)


def _crossings(
    ranking: Ranking, others: NDArray[np.float32], relevant: Csr, users: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Floats]:
    """Users and score differences of the relevant items of a ranking to the others that decide."""
    item_idx, scores = ranking
    rows, places = np.nonzero(contained(relevant.select(users), item_idx))
    own = scores[rows, places]
    last = (scores[rows] >= own[:, None]).sum(1) - 1  # the last place among equal scores
    inside = last < K
    rows, own, last = rows[inside], own[inside], last[inside]
    return users[rows], own - others[rows, K - 1 - last].astype(np.float64)


def _share(users: NDArray[np.int64], relevant: Csr) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.bincount(users, minlength=relevant.n_rows) / relevant.lengths


class UserMeans:
    """Mean of a metric per user over the folds in which the user has one.

    Args:
        n_users: number of users.
    """

    def __init__(self, n_users: int) -> None:
        self._sums, self._counts = np.zeros(n_users), np.zeros(n_users, np.int64)

    def add(self, values: Floats) -> None:
        """Add one fold [U]; NaN for users without the metric."""
        there = ~np.isnan(values)
        self._sums[there] += values[there]
        self._counts += there

    @property
    def values(self) -> Floats:
        """The means of the users that have one, [n]."""
        return self._sums[self._counts > 0] / self._counts[self._counts > 0]


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


@dataclass(frozen=True)
class Fold:
    """One fold's fitted model and what it is asked.

    Attributes:
        parts: `valid` with one fold of new items, `test` with the next.
        scores: by the way of scoring, the scores of known items, and of new ones by part.
    """

    parts: dict[str, Part]
    scores: dict[str, tuple[Score, dict[str, Score]]]


def fit_fold(dataset: Dataset, split: Split, held: dict[str, NDArray[np.int64]], fit: Fit) -> Fold:
    """Fit without the items held out for both parts.

    Args:
        dataset, split: of all items.
        held: item_idx held out for `valid` and for `test`.
        fit: fits a bundle.
    """
    out = np.concatenate(list(held.values()))
    is_kept = np.ones(len(dataset.items), np.bool_)
    is_kept[out] = False
    kept = np.flatnonzero(is_kept)
    known_data, known = without_items(dataset, split, kept)
    bundle = fit(known_data, known)
    unknown = known.train.lengths == 0
    parts = {
        name: Part(
            known.train,
            getattr(known, name),
            without_users(columns(getattr(split, name), items), unknown),
        )
        for name, items in held.items()
    }
    users, known_items = (
        torch.from_numpy(np.array(x)) for x in (bundle.user_vectors, bundle.item_vectors)
    )
    names = list(bundle.manifest.modalities)
    chosen = [dataset.modalities[name] for name in names]
    encoded = {
        part: bundle.item_encoder.encode(
            {n: m.features[items] for n, m in zip(names, chosen, strict=True)},
            np.stack([m.present[items] for m in chosen], 1),
        )
        for part, items in held.items()
    }
    content, profile = unit_features(dataset), profiles(known_data, known.train)
    ours = {part: inner_products(users, torch.from_numpy(x)) for part, x in encoded.items()}
    nearest = {part: inner_products(profile, content[items]) for part, items in held.items()}
    asked = np.flatnonzero(parts["valid"].new.lengths)
    scale = float(ours["valid"](asked).std() / nearest["valid"](asked).std())
    instead = {part: _scaled(score, scale) for part, score in nearest.items()}
    by_model = inner_products(users, known_items)
    scores = {
        OURS: (by_model, ours),
        NEAREST_INSTEAD: (by_model, instead),
        NEAREST: (inner_products(profile, content[kept]), nearest),
    }
    return Fold(parts, scores)


def _scaled(score: Score, scale: float) -> Score:
    return lambda users: score(users) * scale


def new_items(dataset: Dataset, split: Split, n_folds: int, fit: Fit) -> dict[str, Any]:
    """Metrics over all items, each of which is new in one fold.

    Args:
        dataset, split: of all items.
        n_folds: number of folds; in each, one is held out for valid and one for test.
        fit: fits a bundle.
    """
    order = np.random.default_rng(0).permutation(len(dataset.items))
    folds = [np.sort(fold) for fold in np.array_split(order, n_folds)]
    means: dict[tuple[str, ...], UserMeans] = {}
    pairs = 0

    def add(key: tuple[str, ...], values: Floats) -> None:
        means.setdefault(key, UserMeans(len(dataset.users))).add(values)

    for number, test in enumerate(folds):
        held = {"valid": folds[(number + 1) % n_folds], "test": test}
        fold = fit_fold(dataset, split, held, fit)
        pairs += fold.parts["test"].new.nnz
        for name, (known, new) in fold.scores.items():
            for length, values in _among_new(new["test"], fold.parts["test"]):
                add((name, "among_new", str(length)), values)
            valid = moves(known, new["valid"], fold.parts["valid"])
            found = moves(known, new["test"], fold.parts["test"])
            add((name, "alone"), found.known_recall(-np.inf))
            boosts = {f"{share:g}": valid.boost_that_keeps(share) for share in KEPT}
            if name == OURS:
                boosts["exported"] = 0.0
            for label, boost in boosts.items():
                add((name, label, "new"), found.new_recall(boost))
                add((name, label, "known"), found.known_recall(boost))
                add((name, label, "all"), found.recall(boost))
        print(f"fold {number + 1} of {n_folds}", file=sys.stderr, flush=True)
    return {"folds": n_folds, "pairs": pairs, **_summary(means)}


def _among_new(new: Score, part: Part) -> Iterable[tuple[int, Floats]]:
    """Recall@k of the new items among themselves [U], by k."""
    users = np.flatnonzero(part.new.lengths)
    found = evaluate_users(new, part.new, part.nothing, SHORT)
    for length in SHORT:
        values = np.full(part.new.n_rows, np.nan)
        values[users] = found[f"recall@{length}"]
        yield length, values


def _summary(means: dict[tuple[str, ...], UserMeans]) -> dict[str, Any]:
    mean = {key: float(found.values.mean()) for key, found in means.items()}
    models: dict[str, Any] = {}
    for name in (OURS, NEAREST_INSTEAD, NEAREST):
        labels = [key[1] for key in mean if key[0] == name and key[2:] == ("new",)]
        models[name] = {
            "among_new": {str(k): mean[name, "among_new", str(k)] for k in SHORT},
            "alone": mean[name, "alone"],
            "kept": {
                label: {
                    "share": mean[name, label, "known"] / max(mean[name, "alone"], 1e-12),
                    "new": mean[name, label, "new"],
                    "all": mean[name, label, "all"],
                }
                for label in labels
            },
        }
    rng = np.random.default_rng(0)
    compared = [("among_new", str(k)) for k in SHORT]
    compared += [(f"{share:g}", what) for share in KEPT for what in ("new", "all")]
    gains = {
        "/".join(key): vars(
            paired_bootstrap(means[OURS, *key].values, means[NEAREST_INSTEAD, *key].values, rng)
        )
        for key in compared
    }
    return {"models": models, "gains": gains}
