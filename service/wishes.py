"""What a request wants of its search."""

from typing import NamedTuple

from bundle.overlay import Rows
from bundle.steering import Boost

Items = Rows | None
"""Ascending item_idx; None for all."""


class Wishes(NamedTuple):
    """A request's options with item_idx in place of ids and filters.

    Attributes:
        k: results.
        excluded: item_idx that must not come back.
        allowed: item_idx that may, ascending; None for all.
        diversity: 0 … 1.
        factors: of each part of the bundle; None without weights.
        boosts: amounts for some items.
    """

    k: int
    excluded: Rows
    allowed: Items = None
    diversity: float = 0.0
    factors: list[float] | None = None
    boosts: tuple[Boost, ...] = ()
