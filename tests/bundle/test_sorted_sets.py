"""Sets of row numbers equal NumPy's, for every kind of array that they are used with."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.sorted_sets import difference, is_member, last_of_each, union, unique

KINDS = (np.int32, np.int64, np.uint8)


def arrays(kind: type[np.integer]) -> list[NDArray[np.integer]]:
    """Arrays of few and of many elements, with and without duplicates, dense and sparse."""
    rng = np.random.default_rng(0)
    most = np.iinfo(kind).max
    shapes = product((0, 1, 2, 7, 300, 5_000), (1, 5, 100, most))
    drawn = [rng.integers(below, size=n, dtype=kind) for n, below in shapes]
    ends = np.array([most, np.iinfo(kind).min, 0, most], kind)
    return [*drawn, ends, np.arange(50, dtype=kind), np.arange(50, dtype=kind)[::-1]]


@pytest.mark.parametrize("kind", KINDS)
def test_unique_and_last_of_each(kind: type[np.integer]) -> None:
    for values in arrays(kind):
        found = unique(values)
        assert found.dtype == kind
        np.testing.assert_array_equal(found, np.unique(values))
        backwards = np.unique(values[::-1], return_index=True)[1]
        np.testing.assert_array_equal(last_of_each(values), len(values) - 1 - backwards)
    table = np.array([[3, 1], [1, 2]], kind)
    assert unique(table).tolist() == [1, 2, 3]
    assert table.tolist() == [[3, 1], [1, 2]]


@pytest.mark.parametrize("kind", KINDS)
def test_two_sets(kind: type[np.integer]) -> None:
    some = arrays(kind)
    for one, other in product(some, some[::3]):
        np.testing.assert_array_equal(union(one, other), np.union1d(one, other))
        ascending = np.unique(one)
        np.testing.assert_array_equal(difference(ascending, other), np.setdiff1d(one, other))
        member = np.isin(one, other)
        np.testing.assert_array_equal(is_member(one, np.sort(other)), member)
        np.testing.assert_array_equal(is_member(one[None], np.unique(other))[0], member)


def test_members_of_mixed_types_and_shapes() -> None:
    values = np.array([[-1, 2], [5, 7]], np.int32)
    assert is_member(values, np.array([2, 7], np.int64)).tolist() == [[False, True], [False, True]]
    assert is_member(values, np.empty(0, np.int64)).tolist() == [[False, False]] * 2
    assert difference(np.arange(4, dtype=np.int32), np.array([-1, 9, 2, 2])).tolist() == [0, 1, 3]
