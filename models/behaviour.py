"""Backbones of the behaviour line: user and item vectors from interactions alone.

A backbone is a module whose `forward()` returns users [U, D] and items [I, D]. Users may be None:
then a user is the mean of their items.
"""

import torch
from torch import Tensor, nn

from models.sparse import SparseMatrix


def initial_embedding(n: int, dim: int, generator: torch.Generator) -> nn.Parameter:
    """Xavier-uniform embedding [n, dim], drawn from the given generator."""
    weight = torch.empty(n, dim)
    nn.init.xavier_uniform_(weight, generator=generator)
    return nn.Parameter(weight)


class MatrixFactorisation(nn.Module):
    """Matrix factorisation: free embeddings E⁰ without propagation (Rendle et al. 2009)."""

    def __init__(self, n_users: int, n_items: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.users = initial_embedding(n_users, dim, generator)
        self.items = initial_embedding(n_items, dim, generator)

    @property
    def item_embedding(self) -> nn.Parameter:
        """The items' parameters, [I, D]."""
        return self.items

    def forward(self) -> tuple[Tensor, Tensor]:
        """Users [U, D] and items [I, D]."""
        return self.users, self.items


class LightGCN(nn.Module):
    """LightGCN: E^{l+1} = D^{-½} A D^{-½} E^l, E_B = mean of E⁰…E^L (He et al. 2020, eqs. 7, 8).

    Args:
        graph: the interaction graph [U, I].
        dim: D.
        n_layers: L.
        generator: for the initial embeddings.
    """

    def __init__(
        self, graph: SparseMatrix, dim: int, n_layers: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.graph = graph
        self.n_layers = n_layers
        self.embeddings = MatrixFactorisation(*graph.shape, dim, generator)

    @property
    def item_embedding(self) -> nn.Parameter:
        """The items' parameters, [I, D]."""
        return self.embeddings.items

    def forward(self) -> tuple[Tensor, Tensor]:
        """Users [U, D] and items [I, D]."""
        users, items = self.embeddings()
        user_sum, item_sum = users, items
        for _ in range(self.n_layers):
            users, items = self.graph.matmul(items), self.graph.matmul_transposed(users)
            user_sum, item_sum = user_sum + users, item_sum + items
        return user_sum / (self.n_layers + 1), item_sum / (self.n_layers + 1)


class ItemLightGCN(nn.Module):
    """LightGCN without user embeddings (E_U⁰ = 0), so that new users can be represented.

    Even layers then reach items and odd layers users: E_I = mean over l = 0, 2, … ≤ L of
    (R̃ᵀ R̃)^{l/2} E_I⁰, with R̃ the interaction graph.

    Args:
        graph: the interaction graph R̃ [U, I].
        dim: D.
        n_layers: L.
        generator: for the initial embedding.
    """

    def __init__(
        self, graph: SparseMatrix, dim: int, n_layers: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.graph = graph
        self.n_hops = n_layers // 2
        self.items = initial_embedding(graph.shape[1], dim, generator)

    @property
    def item_embedding(self) -> nn.Parameter:
        """The items' parameters, [I, D]."""
        return self.items

    def forward(self) -> tuple[None, Tensor]:
        """None for the users, and items [I, D]."""
        items: Tensor = self.items
        total = items
        for _ in range(self.n_hops):
            items = self.graph.matmul_transposed(self.graph.matmul(items))
            total = total + items
        return None, total / (self.n_hops + 1)
