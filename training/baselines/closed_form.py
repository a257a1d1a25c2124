"""Closed-form baselines: EASE, the best form of its scores as vectors, and iALS.

Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", and Rendle et al. 2021,
"Revisiting the Performance of iALS on Item Recommendation Benchmarks". The code is our own because
PyPI's `implicit` has neither EASE nor iALS's regularisation by frequency, on which its quality
depends, and RecBole's and Cornac's EASE come with whole toolboxes.
"""

from collections.abc import Iterator

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import aslinearoperator, svds
from torch import Tensor

from bundle.csr import Csr
from bundle.errors import InputError
from models.linear import regression
from training.data.scipy_matrix import as_scipy

MAX_ITEMS = 20_000
"""Most items of EASE: a fit takes about 8 GB there, and some minutes."""
ROWS = 64
"""Rows of iALS that are solved together; they are padded to the longest."""


def refuse_large(n_items: int) -> None:
    """Refuse more than MAX_ITEMS items, whose matrix of items × items does not fit.

    Raises:
        InputError: there are more.
    """
    if n_items > MAX_ITEMS:
        raise InputError(
            f"ease needs a matrix of items × items: at most {MAX_ITEMS:,} items, "
            f"these data have {n_items:,}; ials has no such limit"
        )


def ease(train: Csr, l2: float) -> NDArray[np.float32]:
    """Item–item weights B [I, I] of EASE; scores are X B, with X the users' interactions.

    B minimises ‖X − X B‖² + l2 ‖B‖² among the matrices with a zero diagonal: with P = (XᵀX + l2)⁻¹,
    it is I − P / diag(P).

    Raises:
        InputError: there are more than MAX_ITEMS items.
    """
    refuse_large(train.n_cols)
    interactions = as_scipy(train)
    gram = torch.from_numpy((interactions.T @ interactions).toarray())
    found: NDArray[np.float32] = regression(gram, l2, dropout=0.0).numpy()
    return found


def as_vectors(
    train: Csr, weights: NDArray[np.float32], columns: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Users [U, k] and items [I, k] whose products are the best form of X B of rank k.

    It is the best in the Frobenius norm: with V, the first k right singular vectors of X B, users
    are X B V and items V. A history is asked with the sum of its items' rows of B V.

    Args:
        train: X, users × items.
        weights: B of `ease`.
        columns: k, at most the smaller side of X less one.
    """
    interactions = as_scipy(train)
    scores = aslinearoperator(interactions) @ aslinearoperator(weights)
    smaller = min(interactions.shape)
    start = np.random.default_rng(0).standard_normal(smaller).astype(np.float32)
    _, _, right = svds(scores, min(columns, smaller - 1), v0=start)
    items = np.ascontiguousarray(right[::-1].T, np.float32)
    return interactions @ (weights @ items), items


def ials(
    train: Csr, columns: int, alpha: float, l2: float, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Users [U, D] and items [I, D] of iALS after each epoch, without end.

    The loss is Σ (1 − s)² over the interactions + alpha Σ s² over all pairs + l2 Σ (n + alpha N)
    ‖w‖² over users and items with vectors w, n interactions, and N of the other side. An epoch
    solves for all users and then for all items, so it never raises the loss.

    Args:
        train: users × items.
        columns: D.
        alpha: weight of the pairs without interaction.
        l2: strength of the regularisation.
        seed: of the first item vectors.
    """
    generator = torch.Generator().manual_seed(seed)
    interactions = as_scipy(train)
    transposed = interactions.T.tocsr()
    items = torch.randn(train.n_cols, columns, generator=generator) * 0.1 / columns**0.5
    while True:
        users = _solved(interactions, items, alpha, l2)
        items = _solved(transposed, users, alpha, l2)
        yield users, items


def _solved(
    interactions: "scipy.sparse.csr_matrix[np.float32]", others: Tensor, alpha: float, l2: float
) -> Tensor:
    """Best vectors [n, D] of the rows, given those of the columns; zero where a row is empty."""
    n_rows, n_columns = interactions.shape
    lengths = np.diff(interactions.indptr)
    everywhere = alpha * others.T @ others
    padded = torch.cat([others, torch.zeros(1, others.shape[1])])
    found = torch.zeros(n_rows, others.shape[1])
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        place = np.arange(lengths[rows].max())
        known = place < lengths[rows, None]
        columns = np.full(known.shape, n_columns)
        columns[known] = interactions[rows].indices
        of_rows = padded[torch.from_numpy(columns)]
        penalty = torch.from_numpy(l2 * (lengths[rows] + alpha * n_columns)).float()
        left = of_rows.mT @ of_rows + everywhere
        left.diagonal(dim1=1, dim2=2).add_(penalty[:, None])
        right = of_rows.sum(1)[..., None]
        found[torch.from_numpy(rows)] = torch.cholesky_solve(right, torch.linalg.cholesky(left))[
            ..., 0
        ]
    return found
