"""Reach of inverted lists by rank: what so many of them hold, and how far codes misplace it.

The lists nearest to a query hold its best items, and fewer and fewer of those that follow. A user
who has seen the best 200 gets results of the ranks behind them, for which far more lists are
needed than for the first 20. Where the lists hold codes, these rank items in another order than
their vectors, the more so the further behind, where scores differ less.
"""

from collections.abc import Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

RANKS = (20, 40, 80, 160, 320, 640, 1_280, 2_560)
"""Last rank of each window in which reach is measured; the first begins with the best item. Few
users have seen more of their best 2,560 items, and get theirs from all lists."""
ASSUMED = 80
"""Last rank that is taken to be in the lists that a query visits by default, in bundles of older
versions, which do not say; with 50 of the best 70 excluded, recall was 1.00."""
MOST_DISPLACED = 4_096
"""Places by which codes may misplace items that are found by them: so many more results are
compared by their vectors. Items of ranks for which that is not enough are found without codes."""
DISPLACED_TARGET = 0.995
"""Share of the items that codes misplace by no more than a displacement; missing the others is half
of what RECALL_TARGET allows."""
MIDDLES = (np.arange(10) + 0.5) / 10
"""Places among the results at which their share is looked up, as fractions of their number."""
KEPT = 4_096
"""Answers that are kept, 0.2 KB each: those for common numbers of results and exclusions."""


def steps(n_lists: int) -> list[int]:
    """Numbers of lists for which reach is measured: 1, 2, 4, … up to all."""
    return [min(2**n, n_lists) for n in range((n_lists - 1).bit_length() + 1)]


def measure_reach(places: NDArray[np.integer], n_lists: int) -> list[list[float]]:
    """Share of the items of each window of ranks that are in so many lists.

    Args:
        places: [B, N] for each query and its items of rank 1, 2, … N: how many of its nearest lists
            have to be visited to find the item.
        n_lists: number of all lists.
    """
    starts = (start for start in (0, *RANKS[:-1]) if start < places.shape[1])
    windows = [places[:, start:stop] for start, stop in zip(starts, RANKS, strict=False)]
    return [[round(float((w <= step).mean()), 4) for step in steps(n_lists)] for w in windows]


def measure_displacement(ranks: NDArray[np.integer]) -> list[int]:
    """By how many places codes misplace the items of each window of ranks, most of the time.

    Args:
        ranks: [B, N] for each query the rank that the codes give to its item of rank 1, 2, … N.
    """
    behind = ranks - np.arange(1, ranks.shape[1] + 1)
    starts = (start for start in (0, *RANKS[:-1]) if start < ranks.shape[1])
    windows = [behind[:, start:stop] for start, stop in zip(starts, RANKS, strict=False)]
    return [max(0, int(np.quantile(window, DISPLACED_TARGET))) for window in windows]


def assumed_reach(nprobe: int, n_lists: int) -> list[list[float]]:
    """Reach of an index of an older version: ASSUMED ranks by nprobe lists."""
    found = [float(step >= min(nprobe, n_lists)) for step in steps(n_lists)]
    return [found for rank in RANKS if rank <= ASSUMED]


class Reach:
    """Number of lists that a search needs.

    Args:
        shares: as `measure_reach` has them.
        n_lists: number of all lists.
        target: share of the exact results that a search has to find.
    """

    def __init__(self, shares: Sequence[Sequence[float]], n_lists: int, target: float) -> None:
        self._steps, self._target = steps(n_lists), target
        edges = np.array([0, *RANKS[: len(shares)]])
        # What is known of a window holds for its middle. It falls towards the next, and behind the
        # last one only all lists are enough.
        self._ranks = np.append((edges[1:] + edges[:-1]) / 2, [edges[-1], edges[-1] + 1])
        self._shares = np.array([*shares, shares[-1], [0.0] * len(self._steps)])
        self._shares[:, -1] = 1
        # No lru_cache of a method, which would keep the index until garbage is collected.
        self._known: dict[tuple[int, int, float], int] = {}

    def lists(self, skipped: int, k: int, share: float = 1.0) -> int:
        """Number of lists that hold enough of the k results behind some that are excluded.

        Args:
            skipped: number of better items that must not be returned.
            k: number of results, at least 1.
            share: fraction of the items that may be returned, if any item is as likely among them.
        """
        asked = skipped, k, share
        known = self._known.get(asked)
        if known is not None:
            return known
        wanted = (skipped + k * MIDDLES) / share
        found = [np.interp(wanted, self._ranks, column).mean() for column in self._shares.T]
        if len(self._known) >= KEPT:
            self._known.clear()
        needed = self._steps[int(np.argmax(np.array(found) >= self._target))]
        self._known[asked] = needed
        return needed

    def skippable(self, k: int, lists: int) -> int:
        """Number of excluded items up to which so many lists hold enough of k results."""
        fine = takewhile(lambda skipped: self.lists(skipped, k) <= lists, (0, *RANKS))
        return max(fine, default=-1)
