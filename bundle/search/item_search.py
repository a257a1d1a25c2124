"""Item search: the interface between a recommender and whatever finds the best of a bundle's items.

| implementation | for |
|---|---|
| `bundle.search.exact` | fewer than 50,000 items: one matrix product |
| `bundle.search.list_search` | more: inverted lists of vectors or codes |

`tests/bundle/search/test_item_search.py` is the contract: a further implementation is added to its
list, and to `open_item_search`.
"""

from collections.abc import Sequence
from typing import Protocol

from bundle.format.reader import Bundle
from bundle.search.exact import ExactSearch
from bundle.search.list_search import ListSearch
from bundle.search.topk import TopK
from bundle.types import Floats, Rows


class ItemSearch(Protocol):
    """Search among the items of one bundle; rows are its item_idx. Safe for several threads."""

    def is_exact(self, allowed: Rows | None) -> bool:
        """True if a search among these rows, all if None, misses nothing."""
        ...

    def search(
        self,
        queries: Floats,
        k: int,
        excluded: Sequence[Rows],
        allowed: Rows | None = None,
    ) -> list[TopK]:
        """The items with the largest inner products.

        Args:
            queries: [B, D].
            k: number of results per query, at least 1.
            excluded: for each query the rows that must not be returned, in any order.
            allowed: ascending rows that may be returned; all by default.

        Returns:
            For each query k items, or all that there are if they are fewer, with exact scores.
            Recall does not depend on how many or which items are excluded.
        """
        ...


def open_item_search(bundle: Bundle) -> ItemSearch:
    """The search that a bundle's index was made for."""
    if bundle.lists is None:
        return ExactSearch(bundle.item_vectors, bundle.item_scorer)
    return ListSearch(bundle.lists)
