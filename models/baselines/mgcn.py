"""MGCN (Yu et al. 2023, arXiv 2308.03588), implemented from its equations.

Purifier:     ē_m = E_I ⊙ σ(W₂ (W₁ x_m + b₁) + b₂), content gates the behaviour embedding
Views:        E_B = LightGCN(E_U, E_I);  items E_m = S_m^L ē_m over the k-NN graph of X_m, weighted
              by cosine;  users E_m = D^{-½} R D^{-½} (items' E_m)
Fuser:        a_m = softmax_m(qᵀ tanh(W E_m + b));  shared E_S = Σ_m a_m E_m;
              own E_m' = (E_m − E_S) ⊙ σ(W_m E_B + b_m), behaviour gates the modalities;
              side E_F = (E_S + Σ_m E_m') / (M + 1)
Vectors:      E_B + E_F
Loss:         L_BPR + λ_C (InfoNCE over users + InfoNCE over items, of E_F and E_B) + λ L₂

The equations allow two readings (`MgcnConfig.as_code`); which one ranks better depends on the data:

              as the authors' code                        as DRepMRec
X_m           as given, trainable                         unit rows, frozen
S_m           the item itself and its k − 1 nearest       its k nearest
InfoNCE       over the batch's interactions, from E_F     over the batch's distinct users and
              to E_B                                      items, symmetric

The learning rate is constant (the authors' halves in 850 epochs). ē_m is zero for items without
modality m.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.baselines.base import BaselineModel, TrainInteractions, linear
from models.baselines.config import MgcnConfig
from models.behaviour import LightGCN, initial_embedding
from models.graphs import edge_mask
from models.losses import info_nce, info_nce_one_way
from models.sparse import SparseMatrix
from models.trainable import Batch, Vectors


def cosine_graph(neighbours: Tensor, cosines: Tensor, itself: bool) -> SparseMatrix:
    """Normalised k-NN graph D^{-½} S D^{-½} [I, I] with cosines as weights, D its row sums.

    Args:
        neighbours, cosines: [I, k], see `edge_mask`.
        itself: make each item its own first neighbour, in place of the last one.
    """
    n_items = len(neighbours)
    own = torch.arange(n_items).unsqueeze(1)
    valid = edge_mask(neighbours, cosines)
    if itself:
        valid = torch.cat([torch.ones_like(own, dtype=torch.bool), valid[:, :-1]], 1)
        neighbours = torch.cat([own, neighbours[:, :-1]], 1)
        cosines = torch.cat([torch.ones(n_items, 1), cosines[:, :-1]], 1)
    inverse_root = (cosines * valid).sum(1).rsqrt().nan_to_num(posinf=0.0)
    scale = inverse_root.unsqueeze(1) * inverse_root[neighbours]
    rows, columns = own.expand_as(neighbours)[valid], neighbours[valid]
    return SparseMatrix(rows, columns, (cosines * scale)[valid], (n_items, n_items))


class View(nn.Module):
    """A modality's view of the items: purified and propagated embeddings.

    Args:
        features: [I, F_m].
        trained: whether the features are trainable.
        present: [I] bool; items that have the modality.
        graph: S_m [I, I].
        n_layers: L.
        dim: D.
        generator: for the initial weights.
    """

    features: Tensor
    present: Tensor

    def __init__(
        self,
        features: Tensor,
        trained: bool,
        present: Tensor,
        graph: SparseMatrix,
        n_layers: int,
        dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.n_layers = n_layers
        if trained:
            self.features = nn.Parameter(features.clone())
        else:
            self.register_buffer("features", features, persistent=False)
        self.register_buffer("present", present.float().unsqueeze(1), persistent=False)
        self.project = linear(features.shape[1], dim, generator)
        self.gate = linear(dim, dim, generator)

    def purified(self, items: Tensor) -> Tensor:
        """Purifier: E_I [I, D] → ē_m [I, D]."""
        share = torch.sigmoid(self.gate(self.project(self.features)))
        return items * share * self.present

    def forward(self, items: Tensor) -> Tensor:
        """Item view: E_I [I, D] → E_m [I, D]."""
        x = self.purified(items)
        for _ in range(self.n_layers):
            x = self.graph.matmul(x)
        return x


class Fuser(nn.Module):
    """Behaviour-aware fuser: shared features by attention, modality-specific ones by gates.

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
        """Behaviour E_B [n, D] and views E_m [n, D] of each modality → side vectors E_F [n, D]."""
        stacked = torch.stack(views)
        attention = torch.softmax(torch.tanh(self.key(stacked)) @ self.query, dim=0)
        shared = (attention * stacked).sum(0)
        side = shared
        for view, preference in zip(views, self.preferences, strict=True):
            side = side + (view - shared) * torch.sigmoid(preference(behaviour))
        return side / (len(views) + 1)


class Mgcn(BaselineModel):
    """The MGCN model.

    Args:
        train: see `BaselineModel`.
        views: one per modality.
        dim: D.
        user_item_layers: layers of LightGCN.
        config: hyper-parameters.
        generator: for the initial weights.
    """

    def __init__(
        self,
        train: TrainInteractions,
        views: list[View],
        dim: int,
        user_item_layers: int,
        config: MgcnConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(train)
        self.config = config
        self.light_gcn = LightGCN(train.graph(), dim, user_item_layers, generator)
        self.views = nn.ModuleList(views)
        self.fuser = Fuser(len(views), dim, generator)

    def both(self) -> tuple[Tensor, Tensor]:
        """Behaviour vectors E_B and side vectors E_F, [U + I, D] each, users first."""
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
        """BPR, contrastive loss between behaviour and side vectors, and L₂ of the final vectors."""
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
