"""Mapping between external ids, which are strings of the caller, and row numbers."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.errors import InputError

SORTED_FROM = 100_000
"""Number of ids from which on they stay in Arrow's arrays, which processes share, and are looked up
by bisection: 10 µs each. Fewer become a dictionary of Python strings, of 17 MB at most and 1 µs."""
MARKED = 128
"""Every so many-th id in sorted order is kept as a Python object, to begin a bisection with."""
AT_ONCE = 16_384
"""Number of ids looked up in one call from which on many ids become a dictionary, too: a refresh
looks up millions, a request hundreds at most."""
BLOCK = 65_536
"""Ids that are compared at a time when their order is checked: a few megabytes."""


class IdMap:
    """Bijection between n distinct, non-empty strings and the rows 0…n-1, in the given order.

    Args:
        ids: the external ids, strings or an Arrow array of them.
        column: name of the column that they come from, for messages.
        order: [n] rows in the order of their ids' bytes, for an Arrow array; computed where it is
            needed if None.

    Raises:
        InputError: an id is empty or occurs twice, or they are not in that order; the message names
            the column and, for ids, the row.
    """

    def __init__(
        self,
        ids: Iterable[str] | pa.StringArray,
        column: str,
        order: NDArray[np.int32] | None = None,
    ) -> None:
        self.column = column
        if isinstance(ids, pa.StringArray):
            self.array, self._n = ids, len(ids)
            is_empty = pc.fill_null(pc.equal(pc.binary_length(ids), 0), True)
            if not pc.any(is_empty).as_py() and self._are_distinct(order):
                return
        else:
            self.ids = list(ids)
            self._n = len(self.ids)
        self._rows = self._numbered()

    def _are_distinct(self, order: NDArray[np.int32] | None) -> bool:
        """True if no id occurs twice; the order is kept if there is one."""
        if order is None and not self.is_sorted:
            return len(pc.unique(self.array)) == self._n
        if order is not None:
            self.order = order
        for start in range(0, self._n - 1, BLOCK):
            some = self.array.take(pa.array(self.order[start : start + BLOCK + 1]))
            if not pc.all(pc.less(some[:-1], some[1:])).as_py():
                if order is None:
                    return False
                raise InputError(f"{self.column}: the ids are not in the order of their file")
        return True

    @property
    def is_sorted(self) -> bool:
        """True if there are so many ids that they are looked up by bisection."""
        return self._n >= SORTED_FROM

    @cached_property
    def ids(self) -> list[str]:
        """All ids in row order, as Python strings. The list must not be changed."""
        found: list[str] = self.array.to_pylist()
        return found

    @cached_property
    def array(self) -> pa.StringArray:
        """All ids in row order."""
        return pa.array(self.ids, pa.string())

    @cached_property
    def order(self) -> NDArray[np.int32]:
        """Rows [n] in the order of their ids' bytes."""
        return np.asarray(pc.sort_indices(self.array), np.int32)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return self._numbered()

    @cached_property
    def _marks(self) -> list[bytes]:
        """Every MARKED-th id in sorted order."""
        return [i.encode() for i in self.array.take(pa.array(self.order[::MARKED])).to_pylist()]

    @cached_property
    def _buffers(self) -> tuple[NDArray[np.int32], memoryview]:
        """Beginnings of the ids in the bytes of all, and these."""
        _, offsets, data = self.array.buffers()
        starts = np.frombuffer(offsets, np.int32)[self.array.offset :]
        return starts, memoryview(b"" if data is None else data)

    def _numbered(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        for row, external in enumerate(self.ids):
            if not external:
                raise InputError(f"{self.column}: empty id in row {row}")
            first = rows.setdefault(external, row)
            if first != row:
                raise InputError(f"{self.column}: id {external!r} in row {row} repeats row {first}")
        return rows

    def __len__(self) -> int:
        return self._n

    def __contains__(self, external: object) -> bool:
        return isinstance(external, str) and self.get(external) is not None

    def __getitem__(self, row: int) -> str:
        if "ids" in vars(self) or not self.is_sorted:
            return self.ids[row]
        found: str = self.array[row].as_py()
        return found

    def take(self, rows: Sequence[int] | NDArray[np.integer]) -> list[str]:
        """The ids of some rows."""
        if "ids" in vars(self) or not self.is_sorted:
            ids = self.ids
            return [ids[row] for row in (rows.tolist() if isinstance(rows, np.ndarray) else rows)]
        found: list[str] = self.array.take(pa.array(rows, pa.int64())).to_pylist()
        return found

    def get(self, external: str) -> int | None:
        """Row of an id; None if it is unknown."""
        if "_rows" in vars(self) or not self.is_sorted:
            return self._rows.get(external)
        return self._bisected(external)

    def _bisected(self, external: str) -> int | None:
        try:
            wanted = external.encode()
        except UnicodeEncodeError:  # half of a surrogate pair is in no Arrow array
            return None
        starts, data = self._buffers
        low = (bisect_right(self._marks, wanted) - 1) * MARKED
        if low < 0:
            return None
        near = self.order[low : low + MARKED].tolist()
        place = bisect_right(
            near, wanted, key=lambda row: bytes(data[starts[row] : starts[row + 1]])
        )
        row: int = near[place - 1]
        return row if bytes(data[starts[row] : starts[row + 1]]) == wanted else None

    def rows(self, ids: Sequence[str] | pa.Array) -> NDArray[np.int32]:
        """Rows of several ids [n]; -1 for unknown ones."""
        if isinstance(ids, pa.Array):
            found = pc.index_in(ids, value_set=self.array).fill_null(-1)
            return np.asarray(found, np.int32)
        get = self._rows.get if len(ids) >= AT_ONCE else self.get
        found = (row if (row := get(i)) is not None else -1 for i in ids)
        return np.fromiter(found, np.int32, len(ids))
