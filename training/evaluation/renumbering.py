"""Interactions under the item numbering of another catalogue."""

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr


def renumbered(
    matrix: Csr, weights: NDArray[np.float32], row_of: NDArray[np.int32], n_items: int
) -> tuple[Csr, NDArray[np.float32]]:
    """The same interactions with other item numbers.

    Args:
        matrix: n × J.
        weights: [nnz] of the interactions.
        row_of: [J] new item_idx; -1 drops the item's interactions.
        n_items: items of the other catalogue, I.

    Returns:
        n × I, and the weights of its interactions.
    """
    rows, cols = matrix.pairs()
    new = row_of[cols]
    known = new >= 0
    order = np.lexsort((new[known], rows[known]))
    found = Csr.from_pairs(rows[known], new[known], matrix.n_rows, n_items)
    return found, weights[known][order]
