"""Rankings with search options, as the service computes them for an experiment's arm."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.search.options import RankingOptions, SearchOptions, search_options
from bundle.search.recommender import Recommender
from bundle.search.topk import TopK
from bundle.types import NO_ITEMS, Floats, Rows

BLOCK = 256
"""Number of users per search call."""


class OptionsRanker:
    """Top k of one recommender, with the same options for all users.

    Without diversity a ranking has k + 1 items, so that the metrics can resolve ties. With
    diversity the order of choice is the ranking: it has k items, and their scores are replaced by
    descending numbers, since the scores of diverse items do not descend.

    Args:
        recommender: the bundle with its item changes.
        options: options of a ranking; None for those of a request without parameters.
        k: largest cut-off of the metrics.

    Raises:
        OptionError: an option does not fit the bundle; names the option.
    """

    def __init__(self, recommender: Recommender, options: RankingOptions | None, k: int) -> None:
        self._recommender = recommender
        asked = options or RankingOptions()
        self._exclude_seen = asked.exclude_seen
        self._options: SearchOptions = search_options(
            recommender.catalogue, asked, k if asked.diversity else k + 1
        )

    def rank(self, vectors: Floats, seen: list[Rows]) -> list[TopK]:
        """Rankings for user vectors [B, D]; users with a zero vector get popular items.

        Args:
            vectors: [B, D].
            seen: for each user, the item_idx of earlier interactions.
        """
        found = self._recommender.run_each(vectors, self._options, self._excluded(seen))
        if not self._options.diversity:
            return found
        return [
            _in_order_of_choice(top) if vector.any() else top
            for top, vector in zip(found, vectors, strict=True)
        ]

    def rank_popular(self, seen: list[Rows]) -> list[TopK]:
        """Rankings by popularity, for users with these earlier interactions."""
        return [self._most_popular(items) for items in self._excluded(seen)]

    def _excluded(self, seen: list[Rows]) -> list[Rows]:
        return seen if self._exclude_seen else [NO_ITEMS] * len(seen)

    def _most_popular(self, excluded: Rows) -> TopK:
        return self._recommender.popular(self._options.k, excluded, self._options.allowed)


def stacked(tops: Sequence[TopK], width: int) -> tuple[NDArray[np.int64], Floats]:
    """Rankings as arrays: item_idx [n, width], padded with -1, and scores, padded with -inf."""
    item_idx = np.full((len(tops), width), -1, np.int64)
    scores = np.full((len(tops), width), -np.inf, np.float32)
    for n, top in enumerate(tops):
        item_idx[n, : len(top.item_idx)] = top.item_idx
        scores[n, : len(top.scores)] = top.scores
    return item_idx, scores


def _in_order_of_choice(top: TopK) -> TopK:
    return TopK(top.item_idx, -np.arange(len(top.item_idx), dtype=np.float32))
