"""Default modality weights, from how often feature neighbours share users."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from bundle.csr import Csr
from training.data.scipy_matrix import as_scipy

MIN_WEIGHT = 0.1
"""Lower bound of a weight relative to the best modality's; not 0, because an item may have this
modality only."""
_EDGES = 4096
"""Edges per block; bounds memory."""


def co_interaction(train: Csr) -> scipy.sparse.csr_matrix:
    """Items [I, U] as unit vectors over their users.

    A user is weighted by 1/|history|, as in item-based filtering: very active users say little
    about the similarity of two items.
    """
    items = as_scipy(train, np.maximum(train.lengths, 1) ** -0.5).T.tocsr()
    lengths = np.sqrt(np.asarray(items.multiply(items).sum(1)).ravel())
    return scipy.sparse.diags(1 / np.where(lengths > 0, lengths, 1)) @ items


def agreement(
    items: scipy.sparse.csr_matrix, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> float:
    """Agreement of a modality with the interactions.

    The mean cosine of neighbours divided by the mean cosine of all pairs of items, minus 1.

    Args:
        items: [I, U], see `co_interaction`.
        rows, cols: [nnz] items and their neighbours in the modality.

    Returns:
        0 if neighbours are as similar as random pairs, -1 if they share no users.
    """
    if not len(rows):
        return -1.0
    n_items = items.shape[0]
    total = 0.0
    for start in range(0, len(rows), _EDGES):
        of = slice(start, start + _EDGES)
        total += items[rows[of]].multiply(items[cols[of]]).sum()
    summed = np.asarray(items.sum(0)).ravel()
    among_all = summed @ summed - items.multiply(items).sum()  # without self-similarities
    if among_all <= 0:
        return -1.0
    return float(total / len(rows) / (among_all / (n_items * (n_items - 1))) - 1)


def weights(agreements: dict[str, float]) -> dict[str, float]:
    """Weights of the modalities in the modal line: 1 for the best, the others in proportion.

    All weights are 1 if no modality agrees with the interactions better than chance.
    """
    best = max(agreements.values(), default=0.0)
    if best <= 0:
        return dict.fromkeys(agreements, 1.0)
    return {name: max(found / best, MIN_WEIGHT) for name, found in agreements.items()}
