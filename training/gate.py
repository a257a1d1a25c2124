"""The gate: a candidate is compared with the live bundle before anybody is served by it.

Both are asked, through the code that serves, what the same users did next. A user's vector is the
bundle's row if the bundle knows just the history that is left without the held-out interactions;
otherwise it is what the bundle's user encoder makes of that history. So nobody is judged by what
they were made from: not the candidate, whose rows contain the held-out events, and not the live
one.

A candidate is refused if
- ndcg@20 or recall@20 is worse than the live one's by more than TOLERANCE of it, and not by chance:
  the 95 % interval of a paired bootstrap over the users lies below zero;
- popularity beats it in recall@20, not by chance, and did not beat the live one;
- coverage@20 is below COVERAGE of the live one's;
- the index finds less than INDEX_RECALL of what exact search finds;
- ONNX differs from torch by more than what opening a bundle allows (after a fit).

That the encoders make their stored sample again is checked whenever a bundle is opened.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bundle.errors import GateError
from bundle.index import search_recall
from bundle.loading import ENCODER_TOLERANCE, Bundle
from bundle.manifest import Verdict
from bundle.overlay import Overlay
from training.bootstrap import paired_bootstrap
from training.heldout import HeldOut, K, Ranked, rank, rank_popular

JUDGED = ("recall@20", "ndcg@20")
TOLERANCE = 0.01
"""Share of the live bundle's metric that a candidate may be worse."""
COVERAGE = 0.8
INDEX_RECALL = 0.98
FEWEST = 50
"""Users below whom nothing is said about the metrics."""
MOST = 20_000
"""Users that are asked for, at most."""
QUERIES = 200
"""Users by whom the index is compared with exact search."""


@dataclass(frozen=True)
class Comparison:
    """What the gate saw.

    Attributes:
        users: that both were asked for; with fewer than FEWEST the metrics decide nothing.
        candidate, live: None if nothing was held out; `live` also if there is none.
        popularity: metrics of the most popular items.
        gains: by metric the mean difference to the live bundle and its 95 % interval.
        index_recall: of the candidate's index against exact search; None without users.
        problems: why it is refused, a sentence each; empty if it is not.
    """

    users: int
    candidate: Ranked | None
    live: Ranked | None
    popularity: dict[str, float] = field(default_factory=dict)
    gains: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    index_recall: float | None = None
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The numbers, as JSON values."""
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
        """What the manifest keeps.

        Raises:
            GateError: the candidate is worse, and nobody gave a reason to publish it all the same.
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
) -> Comparison:
    """Compare a candidate with the live bundle.

    Args:
        candidate: opened as the service would.
        live: the other one; without one only the index and ONNX can be a reason to refuse.
        held_out: what is asked.
        overlay: changes of items on top of the live bundle.
        onnx: largest differences between ONNX and torch by encoder, where torch was at hand.
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
    ours = rank(candidate, held_out)
    popular = rank_popular(candidate, held_out)
    recall = search_recall(candidate.index, ours.vectors[:QUERIES], candidate.item_vectors)
    if recall < INDEX_RECALL:
        problems.append(f"the index finds {recall:.3f} of what exact search finds")
    if live is None:
        return Comparison(len(held_out.users), ours, None, popular.metrics, {}, recall, problems)
    theirs = rank(live, held_out, overlay)
    rng = np.random.default_rng(0)
    gains: dict[str, tuple[float, float, float]] = {}
    for name in JUDGED:
        gain = paired_bootstrap(ours.per_user[name], theirs.per_user[name], rng, 2_000)
        gains[name] = gain.mean, gain.low, gain.high
        worse = gain.mean < -TOLERANCE * theirs.metrics[name] and gain.high < 0
        if worse and len(held_out.users) >= FEWEST:
            problems.append(
                f"{name} is {ours.metrics[name]:.4f}, the live bundle's {theirs.metrics[name]:.4f}"
            )
    if len(held_out.users) >= FEWEST:
        name = JUDGED[0]
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
