"""How much a modality says of taste, before anything is learned: how alike its neighbours are."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from bundle.csr import Csr

LEAST = 0.1
"""Of the best modality's weight: an item may have no other modality than this one."""
_EDGES = 4096


def co_interaction(train: Csr) -> scipy.sparse.csr_matrix:
    """Items [I, U] as unit rows over the users who interacted with them.

    A user counts 1/|history|, as in item-to-item filtering: who has everything makes nothing alike.
    """
    user_idx, item_idx = train.pairs()
    values = np.maximum(train.lengths[user_idx], 1) ** -0.5
    shape = (train.n_cols, train.n_rows)
    items = scipy.sparse.csr_matrix((values, (item_idx, user_idx)), shape=shape)
    lengths = np.sqrt(np.asarray(items.multiply(items).sum(1)).ravel())
    return scipy.sparse.diags(1 / np.where(lengths > 0, lengths, 1)) @ items


def agreement(
    items: scipy.sparse.csr_matrix, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> float:
    """How much more alike neighbours are than any two items: mean cosine over mean cosine, minus 1.

    Args:
        items: [I, U], see `co_interaction`.
        rows, cols: [nnz] items and their neighbours in a modality.

    Returns:
        0 where the neighbours are like any two items, -1 where they share nobody.
    """
    if not len(rows):
        return -1.0
    n_items = items.shape[0]
    total = 0.0
    for start in range(0, len(rows), _EDGES):
        of = slice(start, start + _EDGES)
        total += items[rows[of]].multiply(items[cols[of]]).sum()
    summed = np.asarray(items.sum(0)).ravel()
    among_all = summed @ summed - items.multiply(items).sum()  # without each item with itself
    if among_all <= 0:
        return -1.0
    return float(total / len(rows) / (among_all / (n_items * (n_items - 1))) - 1)


def weights(agreements: dict[str, float]) -> dict[str, float]:
    """Weights of the modalities in the modal line: 1 for the best, the others in proportion.

    All the same where none agrees with the interactions more than chance has it.
    """
    best = max(agreements.values(), default=0.0)
    if best <= 0:
        return dict.fromkeys(agreements, 1.0)
    return {name: max(found / best, LEAST) for name, found in agreements.items()}
