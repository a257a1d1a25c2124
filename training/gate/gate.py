"""Publication gate: compares a candidate bundle with the live one on held-out interactions.

Both bundles rank, with the search code of the service, the items for the same users. A user's
vector is the bundle's own if it was built from exactly the history without the held-out
interactions; otherwise the user encoder computes it from that history. Hence neither bundle is
evaluated on interactions that its vectors contain.

A candidate is refused if
- ndcg@20 or recall@20 is lower than the live bundle's by more than the fraction TOLERANCE, and the
  95 % interval of a paired bootstrap over users lies below zero;
- popularity has a significantly higher recall@20, and not a higher one than the live bundle;
- coverage@20 is below the fraction COVERAGE of the live bundle's;
- the index finds less than the fraction INDEX_RECALL of the results of exact search without what
  the users have seen: for the first users, for those who have seen most, or of similar items;
- ONNX and torch differ by more than opening a bundle allows (after a fit).

That the encoders reproduce their stored sample is verified whenever a bundle is opened.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bundle.catalogue.overlay import Overlay
from bundle.errors import GateError
from bundle.format.consistency import ENCODER_TOLERANCE
from bundle.format.manifest import Verdict
from bundle.format.reader import Bundle
from bundle.format.recall import search_recall
from bundle.search.options import RankingOptions
from training.evaluation.bootstrap import paired_bootstrap
from training.evaluation.heldout import HeldOut, K, Ranking, rank, rank_popular

GATED_METRICS = ("recall@20", "ndcg@20")
TOLERANCE = 0.01
"""Accepted loss of a metric, as a fraction of the live bundle's."""
COVERAGE = 0.8
"""Required coverage, as a fraction of the live bundle's."""
INDEX_RECALL = 0.98
"""Required recall of the index, relative to exact search."""
MIN_USERS = 50
"""Minimum number of users for a decision by metrics; with fewer, differences are mostly noise."""
MAX_USERS = 20_000
"""Maximum number of evaluated users; more would cost time and hardly narrow the interval."""
QUERIES = 200
"""Number of users for whom the index is compared with exact search, and of those of them all who
have seen the most."""


@dataclass(frozen=True)
class Comparison:
    """Result of comparing a candidate with the live bundle.

    Attributes:
        users: number of evaluated users; below MIN_USERS, metrics cannot refuse the candidate.
        candidate, live: rankings; None without held-out interactions, `live` also without a live
            bundle.
        popularity: metrics of the most popular items.
        gains: per metric the mean difference to the live bundle and its 95 % interval.
        index_recall: recall of the candidate's index relative to exact search, the smaller one of
            any users and of those who have seen the most; None without users.
        problems: reasons to refuse the candidate, one sentence each.
    """

    users: int
    candidate: Ranking | None
    live: Ranking | None
    popularity: dict[str, float] = field(default_factory=dict)
    gains: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    index_recall: float | None = None
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "users": self.users,
            "candidate": self.candidate.metrics if self.candidate else None,
            "live": self.live.metrics if self.live else None,
            "popularity": self.popularity or None,
            "gains": {name: list(gain) for name, gain in self.gains.items()},
            "index_recall": self.index_recall,
            "problems": self.problems,
        }

    def verdict(self, forced: str | None) -> Verdict:
        """The verdict that the manifest stores.

        Args:
            forced: reason to publish a candidate that has problems; None refuses it.

        Raises:
            GateError: the candidate has problems and publication is not forced.
        """
        if self.problems and forced is None:
            problems = "; ".join(self.problems)
            raise GateError(f"the candidate is worse than the live bundle: {problems}")
        return Verdict(
            passed=not self.problems,
            problems=self.problems,
            forced=forced if self.problems else None,
        )


def compare(
    candidate: Bundle,
    live: Bundle | None,
    held_out: HeldOut,
    overlay: Overlay | None = None,
    onnx: dict[str, float] | None = None,
    options: RankingOptions | None = None,
) -> Comparison:
    """Compare a candidate with the live bundle.

    Args:
        candidate: the new bundle, opened as in the service.
        live: the live bundle; None leaves only index and ONNX as reasons to refuse.
        held_out: held-out interactions.
        overlay: item changes that apply to the live bundle.
        onnx: largest difference between ONNX and torch per encoder, after a fit.
        options: options of each ranking of both bundles; None for none.

    Raises:
        OptionError: an option does not fit a bundle.
    """
    problems = [
        f"{name}.onnx differs from torch by {difference:.2g}"
        for name, difference in (onnx or {}).items()
        if not difference <= ENCODER_TOLERANCE
    ]
    if live is not None:
        held_out = held_out.unknown_to(live)
    if not held_out.users:
        return Comparison(0, None, None, problems=problems)
    ours = rank(candidate, held_out, options=options)
    popular = rank_popular(candidate, held_out, options)
    recall = _index_recall(candidate, ours, problems)
    if live is None:
        return Comparison(len(held_out.users), ours, None, popular.metrics, {}, recall, problems)
    theirs = rank(live, held_out, overlay, options)
    rng = np.random.default_rng(0)
    gains: dict[str, tuple[float, float, float]] = {}
    for name in GATED_METRICS:
        gain = paired_bootstrap(ours.per_user[name], theirs.per_user[name], rng, 2_000)
        gains[name] = gain.mean, gain.low, gain.high
        worse = gain.mean < -TOLERANCE * theirs.metrics[name] and gain.high < 0
        if worse and len(held_out.users) >= MIN_USERS:
            problems.append(
                f"{name} is {ours.metrics[name]:.4f}, the live bundle's {theirs.metrics[name]:.4f}"
            )
    if len(held_out.users) >= MIN_USERS:
        name = GATED_METRICS[0]
        gain = paired_bootstrap(ours.per_user[name], popular.per_user[name], rng, 2_000)
        if gain.high < 0 and popular.metrics[name] <= theirs.metrics[name]:
            problems.append(
                f"{name} is {ours.metrics[name]:.4f}, that of the most popular items "
                f"{popular.metrics[name]:.4f}"
            )
        shown, before = ours.metrics[f"coverage@{K}"], theirs.metrics[f"coverage@{K}"]
        if shown < COVERAGE * before:
            problems.append(f"coverage@{K} is {shown:.4f}, the live bundle's {before:.4f}")
    return Comparison(len(held_out.users), ours, theirs, popular.metrics, gains, recall, problems)


def _index_recall(candidate: Bundle, ours: Ranking, problems: list[str]) -> float:
    """Recall of the index for any users and for those who have seen most; adds to the problems."""
    if candidate.lists is None:
        return 1.0
    heavy = np.argsort(-ours.history.lengths, kind="stable")[:QUERIES]
    found = 1.0
    groups = {"": np.arange(len(heavy)), " for users who have seen most": heavy}
    for whose, users in groups.items():
        excluded = [ours.history.row(user) for user in users.tolist()]
        recall = float(search_recall(candidate.lists, ours.vectors[users], excluded).mean())
        if recall < INDEX_RECALL:
            problems.append(f"the index finds {recall:.3f} of the results of exact search{whose}")
        found = min(found, recall)
    similar = candidate.manifest.index.similar
    if similar is not None and similar.recall < INDEX_RECALL:
        problems.append(f"the index finds {similar.recall:.3f} of the similar items")
    return found
