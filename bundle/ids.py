"""External ids (the caller's strings) and row numbers."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.errors import InputError


class IdMap:
    """A bijection between n distinct non-empty strings and the rows 0…n-1, in the given order.

    Raises:
        InputError: an id is empty or occurs twice; the message names `column` and the row.
    """

    def __init__(self, ids: Iterable[str], column: str) -> None:
        self.column = column
        self._ids: list[str] = list(ids)
        self._rows: dict[str, int] = {}
        for row, external in enumerate(self._ids):
            if not external:
                raise InputError(f"{column}: empty id in row {row}")
            first = self._rows.setdefault(external, row)
            if first != row:
                raise InputError(f"{column}: id {external!r} in row {row} repeats row {first}")

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, external: object) -> bool:
        return external in self._rows

    def __getitem__(self, row: int) -> str:
        return self._ids[row]

    def get(self, external: str) -> int | None:
        """The row of an id, None if it is unknown."""
        return self._rows.get(external)

    def rows(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """Rows of many ids [n], -1 where an id is unknown."""
        return np.fromiter((self._rows.get(i, -1) for i in ids), np.int32, len(ids))

    @property
    def ids(self) -> list[str]:
        """All ids in row order; not to be changed."""
        return self._ids
