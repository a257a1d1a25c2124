"""MGCN (Yu et al. 2023, arXiv 2308.03588), after its equations.

Purifier:     ē_m = E_I ⊙ σ(W₂ (W₁ x_m + b₁) + b₂), behaviour guides what of the content stays
Views:        E_B = LightGCN(E_U, E_I);  items E_m = S_m^L ē_m over the k-NN graph of X_m, weighed
              by cosine;  users E_m = D^{-½} R D^{-½} (items' E_m)
Fuser:        a_m = softmax_m(qᵀ tanh(W E_m + b));  shared E_S = Σ_m a_m E_m;
              own E_m' = (E_m − E_S) ⊙ σ(W_m E_B + b_m), behaviour says which modality matters;
              side E_F = (E_S + Σ_m E_m') / (M + 1)
Vectors:      E_B + E_F
Loss:         L_BPR + λ_C (InfoNCE over users + InfoNCE over items, of E_F and E_B) + λ L₂

The equations leave room for two readings (`MgcnConfig.as_code`); which ranks better differs by data
set:

              as the authors' code                        as DRepMRec
X_m           as given, trained with the rest             unit rows that stay
S_m           the item itself and its k − 1 nearest       its k nearest
InfoNCE       over the batch's interactions, E_F finds    over its users and items, each once,
              E_B                                         both ways

Learning rates do not decay (the authors' halves in 850 epochs). Where an item lacks a modality, ē_m
is zero.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.behaviour import LightGCN, initial_embedding
from models.drepmrec import Batch, Vectors
from models.graphs import interaction_graph
from models.losses import info_nce, info_nce_one_way
from models.rivals.base import Rival, linear
from models.rivals.config import MgcnConfig
from models.rivals.views import View


class Fuser(nn.Module):
    """What modalities share, and what of their own behaviour lets through.

    Args:
        n_modalities: M.
        dim: D.
        generator: for the initial weights.
    """

    def __init__(self, n_modalities: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.key = linear(dim, dim, generator)
        self.query = initial_embedding(dim, 1, generator)
        self.preferences = nn.ModuleList(linear(dim, dim, generator) for _ in range(n_modalities))

    def forward(self, behaviour: Tensor, views: list[Tensor]) -> Tensor:
        """E_B [n, D] and E_m [n, D] of each modality → E_F [n, D]."""
        stacked = torch.stack(views)
        attention = torch.softmax(torch.tanh(self.key(stacked)) @ self.query, dim=0)
        shared = (attention * stacked).sum(0)
        side = shared
        for view, preference in zip(views, self.preferences, strict=True):
            side = side + (view - shared) * torch.sigmoid(preference(behaviour))
        return side / (len(views) + 1)


class Mgcn(Rival):
    """MGCN.

    Args:
        user_idx, item_idx, n_users, n_items: see `Rival`.
        views: of each modality.
        dim: D.
        user_item_layers: of LightGCN.
        config: hyper-parameters.
        generator: for the initial weights.
    """

    def __init__(
        self,
        user_idx: Tensor,
        item_idx: Tensor,
        n_users: int,
        n_items: int,
        views: list[View],
        dim: int,
        user_item_layers: int,
        config: MgcnConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(user_idx, item_idx, n_users, n_items)
        self.config = config
        graph = interaction_graph(user_idx, item_idx, n_users, n_items)
        self.light_gcn = LightGCN(graph, dim, user_item_layers, generator)
        self.views = nn.ModuleList(views)
        self.fuser = Fuser(len(views), dim, generator)

    def both(self) -> tuple[Tensor, Tensor]:
        """Behaviour E_B and side E_F, [U + I, D] each, users first."""
        behaviour = torch.cat(self.light_gcn())
        graph, initial = self.light_gcn.graph, self.light_gcn.embeddings.items
        of_items = [view(initial) for view in self.views]
        views = [torch.cat([graph.matmul(items), items]) for items in of_items]
        return behaviour, self.fuser(behaviour, views)

    def forward(self) -> Vectors:
        """Users [U, D] and items [I, D]."""
        behaviour, side = self.both()
        return self._by_side(behaviour + side)

    def _by_side(self, both: Tensor) -> Vectors:
        return Vectors(both[: self.n_users], both[self.n_users :])

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """BPR, contrast of behaviour and side vectors, and L₂ of the final ones."""
        behaviour, side = self.both()
        vectors, config = self._by_side(behaviour + side), self.config
        if config.as_code:
            agreement, users, items = info_nce_one_way, batch.user_idx, batch.item_idx
        else:
            agreement = info_nce
            users, items = torch.unique(batch.user_idx), torch.unique(batch.item_idx)
        contrast = [
            agreement(
                F.embedding(idx, side), F.embedding(idx, behaviour), config.contrast_temperature
            )
            for idx in (users, self.n_users + items)
        ]
        return {
            "rank": self.ranking(vectors, batch),
            "contrast": config.contrast * torch.stack(contrast).sum(),
            "l2": config.l2 * self.l2(vectors, batch),
        }
