"""Search in inverted lists, among all items or those that a filter allows.

Some allowed items are found in the cheapest way for their number:

| allowed | way |
|---|---|
| COMPARED at most | one by one |
| more, and so large a share that few results have to be dropped | more results of the index than are wanted, those that are not allowed dropped |
| else, or if too few were left | the index looks at allowed items only, in more lists the fewer are allowed |
| if there are still too few | one by one |

The share is counted for each filter, not guessed. `benchmarks/serving/filters.py` measures the ways,
`benchmarks/serving/exclusions.py` what exclusions cost.
"""  # noqa: E501

from collections.abc import Sequence

import numpy as np

from bundle.format.lists import InvertedLists, within
from bundle.search.exact import compare
from bundle.search.topk import TopK
from bundle.sorted_sets import difference, is_member
from bundle.types import Floats, Mask, Rows, Vector

COMPARED = 20_000
"""Allowed items that are compared one by one in a large catalogue: as long as that is the fastest
way to a recall of 1."""
OVERFETCHED = 2_000
"""Results that are asked for at most to drop those that are not allowed."""
MARGIN = 1.5
"""Times as many results as are needed if a filter says nothing of what a user likes."""
DEEPER = 4
"""Times the index's lists for results far behind the first 20, by which it was tuned."""
FAR = 16
"""Times the index's lists, divided by the share of allowed items, where these are not what the user
likes: then they are far from the lists that are looked at first."""
CODED = 640
"""Least number of further results of codes that are compared by their vectors, where a filter
selects items: how codes rank them was measured among all."""


class ListSearch:
    """Search in a bundle's inverted lists. Safe to call from several threads.

    Args:
        lists: the index.
    """

    def __init__(self, lists: InvertedLists) -> None:
        self._lists = lists

    def is_exact(self, allowed: Rows | None) -> bool:
        """True for few rows; see `bundle.search.item_search`."""
        return allowed is not None and len(allowed) <= COMPARED

    def search(
        self,
        queries: Floats,
        k: int,
        excluded: Sequence[Rows],
        allowed: Rows | None = None,
    ) -> list[TopK]:
        """See `bundle.search.item_search`."""
        if allowed is None:
            return [TopK(*found) for found in self._lists.search(queries, k, excluded)]
        return [
            self._among(query, k, rows, allowed)
            for query, rows in zip(queries, excluded, strict=True)
        ]

    def _among(self, query: Vector, k: int, excluded: Rows, allowed: Rows) -> TopK:
        left = difference(allowed, excluded)
        if len(left) > COMPARED:
            excluded = excluded[is_member(excluded, allowed)]
            for way in (self.dropping, self._selecting):
                found = way(query, k, excluded, left)
                if found is not None:
                    return found
        return compare(self._lists.vectors.__getitem__, query, k, left)

    def dropping(self, query: Vector, k: int, excluded: Rows, left: Rows) -> TopK | None:
        """Results of the index without those that are not left; None if that finds too little."""
        lists = self._lists
        n_items = len(lists.vectors)
        share = len(left) / n_items
        fetched = int(MARGIN * (k + len(excluded)) / share)
        if fetched > OVERFETCHED:
            return None
        visited = max(DEEPER * lists.info.nprobe, lists.reach.lists(0, fetched))
        rows, scores = lists.among(query, fetched, visited, lists.displaced(fetched), None)
        kept = is_member(rows, left)
        found = TopK(rows[kept][:k], scores[kept][:k])
        if len(found.item_idx) < k or self._needed(query, found, excluded, share) > visited:
            return None
        return found

    def _selecting(self, query: Vector, k: int, excluded: Rows, left: Rows) -> TopK | None:
        """Results of the index among those that are left; None if the lists hold fewer than k."""
        lists = self._lists
        share = len(left) / len(lists.vectors)
        mask = np.zeros(len(lists.vectors), np.bool_)
        mask[left] = True
        visited = int(FAR * lists.info.nprobe / share)
        found = self._selected(query, k, visited, mask)
        needed = self._needed(query, found, excluded, share)
        if needed > visited:
            found = self._selected(query, k, needed, mask)
        return found if len(found.item_idx) == min(k, len(left)) else None

    def _selected(self, query: Vector, k: int, lists: int, mask: Mask) -> TopK:
        more = max(CODED, self._lists.displaced(k)) if self._lists.has_codes else 0
        return TopK(*self._lists.among(query, k, lists, more, within(mask)))

    def _needed(self, query: Vector, found: TopK, excluded: Rows, share: float) -> int:
        """Lists that hold the results behind excluded items that are better than the last one."""
        if not len(excluded) or not len(found.item_idx):
            return 0
        skipped = self._lists.skipped(query, float(found.scores[-1]), excluded)
        return self._lists.reach.lists(skipped, len(found.item_idx), share)
