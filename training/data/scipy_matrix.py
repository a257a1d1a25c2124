"""Interactions as a matrix of SciPy, for products of sparse matrices."""

from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from bundle.csr import Csr


def as_scipy(
    matrix: Csr, of_rows: NDArray[np.floating] | None = None
) -> "scipy.sparse.csr_matrix[Any]":
    """The matrix with float32 ones as entries, or with a value for each row.

    Args:
        matrix: users × items.
        of_rows: values [n_rows]; the result has their type.
    """
    if of_rows is None:
        of_rows = np.ones(matrix.n_rows, np.float32)
    values = np.repeat(of_rows, matrix.lengths)
    shape = (matrix.n_rows, matrix.n_cols)
    return scipy.sparse.csr_matrix((values, matrix.indices, matrix.indptr), shape=shape)
