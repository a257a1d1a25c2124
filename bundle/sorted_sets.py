"""Sets of row numbers and keys as ascending arrays without duplicates.

NumPy has these functions, too, but since version 2.3 its `unique` hashes integers before it sorts
them, which takes 30 to 100 times as long as sorting from 100,000 elements on, and most of the
others call it. They also sort what is sorted already.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Int = TypeVar("Int", bound=np.integer)


def unique(values: NDArray[Int]) -> NDArray[Int]:
    """Distinct elements of an array of any shape, ascending."""
    ordered = np.sort(values, axis=None)
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    return np.asarray(ordered[is_first])


def last_of_each(values: NDArray[np.integer]) -> NDArray[np.int64]:
    """Position of the last occurrence of each distinct element [n], in ascending order of them."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_last = np.append(ordered[1:] != ordered[:-1], True)[: len(order)]
    return np.asarray(order[is_last])


def union(some: NDArray[Int], others: NDArray[Int]) -> NDArray[Int]:
    """Elements of either of two arrays, ascending."""
    return unique(np.concatenate([some, others]))


def difference(some: NDArray[Int], others: NDArray[np.integer]) -> NDArray[Int]:
    """Elements of a set that are not in another array.

    Args:
        some: ascending.
        others: in any order.
    """
    if not len(some) or not len(others):
        return some
    kept = np.ones(len(some), np.bool_)
    place = some.searchsorted(others)
    kept[place[some.take(place, mode="clip") == others]] = False
    return some[kept]


def is_member(values: NDArray[np.integer], some: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Membership in a set of each element of an array of any shape.

    Args:
        values: in any order.
        some: ascending; it may have duplicates.
    """
    if not len(some):
        return np.zeros(values.shape, np.bool_)
    return np.asarray(some.take(some.searchsorted(values), mode="clip") == values)
