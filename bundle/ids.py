"""Mapping between external ids, which are strings of the caller, and row numbers."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bundle.errors import InputError


class IdMap:
    """Bijection between n distinct, non-empty strings and the rows 0…n-1, in the given order.

    Ids in an Arrow array become Python strings, of which a million take 170 MB, only when one of
    them is looked up; `rows` of another array needs none.

    Args:
        ids: the external ids, strings or an Arrow array of them.
        column: name of the column that they come from, for messages.

    Raises:
        InputError: an id is empty or occurs twice; the message names the column and the row.
    """

    def __init__(self, ids: Iterable[str] | pa.StringArray, column: str) -> None:
        self.column = column
        if isinstance(ids, pa.StringArray):
            self.array, self._n = ids, len(ids)
            is_empty = pc.fill_null(pc.equal(pc.binary_length(ids), 0), True)
            if not pc.any(is_empty).as_py() and len(pc.unique(ids)) == len(ids):
                return
        else:
            self.ids = list(ids)
            self._n = len(self.ids)
        self._rows = self._numbered()

    @cached_property
    def ids(self) -> list[str]:
        """All ids in row order. The list must not be changed."""
        found: list[str] = self.array.to_pylist()
        return found

    @cached_property
    def array(self) -> pa.StringArray:
        """All ids in row order."""
        return pa.array(self.ids, pa.string())

    @cached_property
    def _rows(self) -> dict[str, int]:
        return self._numbered()

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
        return external in self._rows

    def __getitem__(self, row: int) -> str:
        return self.ids[row]

    def get(self, external: str) -> int | None:
        """Row of an id; None if it is unknown."""
        return self._rows.get(external)

    def rows(self, ids: Sequence[str] | pa.Array) -> NDArray[np.int32]:
        """Rows of several ids [n]; -1 for unknown ones."""
        if isinstance(ids, pa.Array):
            found = pc.index_in(ids, value_set=self.array).fill_null(-1)
            return np.asarray(found, np.int32)
        return np.fromiter((self._rows.get(i, -1) for i in ids), np.int32, len(ids))
