"""Graphs for propagation: user–item interactions and k-nearest-neighbour relations."""

import torch
from torch import Tensor
from torch.nn import functional as F

from models.sparse import SparseMatrix


def interaction_graph(
    user_idx: Tensor, item_idx: Tensor, n_users: int, n_items: int
) -> SparseMatrix:
    """Normalised interaction graph: the upper right block of D^{-½} A D^{-½} (LightGCN, eq. 3).

    Args:
        user_idx, item_idx: [nnz] train interactions, each pair once.
        n_users, n_items: U and I.

    Returns:
        [U, I] with 1/√(deg(u) deg(i)) for each interaction.
    """
    user_degree = torch.bincount(user_idx, minlength=n_users).float()
    item_degree = torch.bincount(item_idx, minlength=n_items).float()
    values = (user_degree[user_idx] * item_degree[item_idx]).rsqrt()
    return SparseMatrix(user_idx, item_idx, values, (n_users, n_items))


def history_mean(user_idx: Tensor, item_idx: Tensor, n_users: int, n_items: int) -> SparseMatrix:
    """Averaging matrix [U, I] with 1/deg(u) per interaction: maps items to the mean per user."""
    degree = torch.bincount(user_idx, minlength=n_users).float()
    return SparseMatrix(user_idx, item_idx, 1 / degree[user_idx], (n_users, n_items))


@torch.no_grad()
def nearest_neighbours(
    features: Tensor, present: Tensor, k: int, block: int = 1024
) -> tuple[Tensor, Tensor]:
    """Exact k nearest neighbours by cosine, each item itself excluded, computed block by block.

    Args:
        features: [I, F] on any device.
        present: [I] bool; absent rows neither have neighbours nor are neighbours.
        k: neighbours per row, at most the number of other present rows.
        block: rows per step; memory is block · I floats, never I².

    Returns:
        Neighbours [I, k] int64 and cosines [I, k]; rows of absent items hold -1 and 0.
    """
    unit = F.normalize(features, dim=1)
    rows = torch.nonzero(present).squeeze(1)
    k = max(min(k, len(rows) - 1), 0)
    neighbours = torch.full((len(features), k), -1, dtype=torch.int64)
    cosines = torch.zeros(len(features), k)
    if k == 0:
        return neighbours, cosines
    candidates = unit[rows]
    for start in range(0, len(rows), block):
        of = slice(start, start + block)
        similarity = candidates[of] @ candidates.T
        similarity[:, start:].fill_diagonal_(-2)  # an item is not its own neighbour
        best = torch.topk(similarity, k, dim=1)
        neighbours[rows[of].cpu()] = rows[best.indices].cpu()
        cosines[rows[of].cpu()] = best.values.float().cpu()
    return neighbours, cosines


def edge_mask(neighbours: Tensor, cosines: Tensor) -> Tensor:
    """Mask [I, k] of the edges of a k-NN graph.

    Args:
        neighbours: [I, k], -1 for none; an item as its own neighbour is dropped.
        cosines: [I, k]; neighbours with a cosine ≤ 0 are dropped.
    """
    own = torch.arange(len(neighbours)).unsqueeze(1)
    return (neighbours >= 0) & (neighbours != own) & (cosines > 0)


def edges(neighbours: Tensor, cosines: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns [nnz] of a k-NN graph.

    Args:
        neighbours, cosines: [I, k], see `edge_mask`.
    """
    valid = edge_mask(neighbours, cosines)
    rows = torch.arange(len(neighbours)).unsqueeze(1)
    return rows.expand_as(neighbours)[valid], neighbours[valid]


def relation_graph(neighbours: Tensor, cosines: Tensor) -> SparseMatrix:
    """Symmetrically normalised k-NN graph (FREEDOM, eq. 2); neighbours have equal weights.

    Args:
        neighbours, cosines: [I, k], see `edge_mask`.

    Returns:
        [I, I]; rows of items without neighbours are empty.
    """
    n_items = len(neighbours)
    rows, cols = edges(neighbours, cosines)
    out_degree = torch.bincount(rows, minlength=n_items).float()
    in_degree = torch.bincount(cols, minlength=n_items).float()
    values = (out_degree[rows] * in_degree[cols]).rsqrt()
    return SparseMatrix(rows, cols, values, (n_items, n_items))
