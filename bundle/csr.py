"""Binary sparse matrices in compressed sparse row format: interactions, users × items.

`scipy.sparse` has them too, but the service needs nothing else of SciPy, which takes 140 MB.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bundle.sorted_sets import unique


@dataclass(frozen=True)
class Csr:
    """A binary matrix: the column numbers of each row, sorted and without duplicates.

    Attributes:
        indptr: [n_rows + 1] int64; row r is indices[indptr[r]:indptr[r + 1]].
        indices: [nnz] int32 column numbers, each below n_cols.
        n_cols: number of columns.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    n_cols: int

    @classmethod
    def from_pairs(
        cls, rows: NDArray[np.integer], cols: NDArray[np.integer], n_rows: int, n_cols: int
    ) -> Self:
        """From row and column numbers [nnz] in any order. Duplicate pairs count once."""
        keys = unique(rows.astype(np.int64) * n_cols + cols)
        row_of = keys // max(n_cols, 1)
        keys -= row_of * n_cols
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(row_of, minlength=n_rows), out=indptr[1:])
        return cls(indptr, keys.astype(np.int32), n_cols)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return len(self.indices)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of entries of each row [n_rows]."""
        return np.diff(self.indptr)

    def row(self, r: int) -> NDArray[np.int32]:
        """Column numbers of row r, sorted."""
        return self.indices[self.indptr[r] : self.indptr[r + 1]]

    def pairs(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Row numbers [nnz] and column numbers [nnz] of all entries, in row order."""
        return np.repeat(np.arange(self.n_rows, dtype=np.int32), self.lengths), self.indices

    def column_counts(self) -> NDArray[np.int64]:
        """Number of entries of each column [n_cols]."""
        return np.bincount(self.indices, minlength=self.n_cols)

    def select(self, rows: NDArray[np.integer]) -> "Csr":
        """The n × n_cols matrix of the given rows [n], in the given order."""
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        place = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return Csr(indptr, self.indices[place], self.n_cols)
