"""Search among some allowed items, in the cheapest way for their number.

| allowed | way |
|---|---|
| all of a flat index, or COMPARED at most | one by one |
| more, and so large a share that few results have to be dropped | more results of the index than are wanted, those that are not allowed dropped |
| else, or if too few were left | the index looks at allowed items only, in more lists the fewer are allowed |
| if there are still too few | one by one |

The share is counted for each filter, not guessed. `benchmarks/serving/filters.py` measures the ways.
"""  # noqa: E501

from collections.abc import Iterator
from typing import Any

import numpy as np

from bundle.format.index import search_lists
from bundle.format.manifest import IndexInfo
from bundle.sorted_sets import is_member
from bundle.types import Floats, Rows

Found = tuple[Floats, Rows]
"""Scores and rows [n], -1 where there are no more."""

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


def search_index(
    index: Any, info: IndexInfo, vector: Floats, wanted: int, allowed: Rows
) -> Iterator[Found]:
    """Allowed items that the index finds, by the cheapest way first.

    Args:
        index: of kind `ivf`.
        info: how it is searched.
        vector: [D] query.
        wanted: results.
        allowed: rows of the index, ascending.
    """
    share = len(allowed) / index.ntotal
    fetched = int(MARGIN * wanted / share)
    if fetched <= OVERFETCHED:
        scores, rows = search_lists(index, vector, fetched, DEEPER * info.nprobe)
        keep = is_member(rows, allowed)
        yield scores[keep], rows[keep]
    mask = np.zeros(index.ntotal, np.bool_)
    mask[allowed] = True
    lists = int(FAR * info.nprobe / share)
    yield search_lists(index, vector, min(wanted, len(allowed)), lists, mask)
