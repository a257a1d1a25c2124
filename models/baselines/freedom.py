"""FREEDOM (Zhou & Shen 2023, arXiv 2211.06924), implemented from its equations.

Item–item graph, frozen:  S = Σ_m α_m S_m,  S_m the normalised k-NN graph of X_m
Pruning, every epoch:     keep ⌊|E| (1 − ρ)⌋ edges, drawn by p(u, i) = 1 / √(deg u · deg i)
                          without replacement; normalise the kept edges again
Items:                    h_i = (S^L E_I)_i + ẽ_i,  ẽ of LightGCN; users ẽ_u
Loss:                     L_BPR(ẽ_u, h) + λ Σ_m L_BPR(ẽ_u, W_m x + b_m)

Evaluation uses the complete user–item graph. Unlike in the authors' code, features are frozen and
an item is not its own neighbour.
"""

import torch
from torch import Tensor, nn

from models.baselines.base import BaselineModel, TrainInteractions, linear
from models.baselines.config import FreedomConfig
from models.behaviour import LightGCN
from models.sparse import SparseMatrix
from models.trainable import Batch, Vectors


def sample_kept_edges(
    user_idx: Tensor, item_idx: Tensor, share: float, generator: torch.Generator
) -> Tensor:
    """Degree-sensitive edge pruning: sorted numbers of the ⌊nnz · (1 − share)⌋ kept edges.

    Drawn without replacement with probability 1/√(deg u · deg i), so that edges of popular items
    and active users are pruned first. The n smallest values of −log(uniform)/p are such a draw
    (exponential race).

    Args:
        user_idx, item_idx: [nnz] edges.
        share: ρ, the pruned fraction.
        generator: on the CPU.
    """
    degrees = torch.bincount(user_idx)[user_idx] * torch.bincount(item_idx)[item_idx]
    probability = degrees.double().rsqrt()
    uniform = torch.rand(len(probability), generator=generator, dtype=torch.float64)
    arrival = -torch.log(uniform.to(probability.device)) / probability
    n_kept = int(len(arrival) * (1 - share) + 1e-9)
    return torch.sort(torch.topk(arrival, n_kept, largest=False).indices).values


class Projection(nn.Module):
    """Linear projection of all items' features, [I, F] → [I, D]."""

    features: Tensor

    def __init__(self, features: Tensor, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.linear = linear(features.shape[1], dim, generator)

    def forward(self) -> Tensor:
        """Projected features [I, D]."""
        projected: Tensor = self.linear(self.features)
        return projected


class Freedom(BaselineModel):
    """The FREEDOM model.

    Args:
        train: see `BaselineModel`.
        features: [I, F_m] of each modality, unit or zero rows.
        item_graphs: S_m [I, I] of each modality.
        weights: α_m of each modality; they add up to 1.
        dim: D.
        user_item_layers: layers of LightGCN.
        item_layers: L, layers over the item–item graph.
        config: hyper-parameters.
        generator: for the initial weights.
    """

    def __init__(
        self,
        train: TrainInteractions,
        features: list[Tensor],
        item_graphs: list[SparseMatrix],
        weights: list[float],
        dim: int,
        user_item_layers: int,
        item_layers: int,
        config: FreedomConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(train)
        self.config = config
        self.item_layers = item_layers
        self.weights = weights
        self.train_interactions = train  # on the CPU, where edges are drawn
        graph = train.graph()
        self.light_gcn = LightGCN(graph, dim, user_item_layers, generator)
        self.whole = graph
        self.pruned = graph
        self.item_graphs = item_graphs
        self.registered = nn.ModuleList(item_graphs)  # so that they move between devices
        self.projections = nn.ModuleList(Projection(x, dim, generator) for x in features)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Sample this epoch's pruned user–item graph."""
        train = self.train_interactions
        kept = sample_kept_edges(train.user_idx, train.item_idx, self.config.pruned, generator)
        pruned = train._replace(user_idx=train.user_idx[kept], item_idx=train.item_idx[kept])
        self.pruned = pruned.graph().to(self.observed.device)

    def forward(self) -> Vectors:
        """Users [U, D] and items [I, D], propagated over the complete graph."""
        return self._vectors(self.whole)

    def ranked(self) -> Vectors:
        """As `forward`, propagated over this epoch's pruned graph."""
        return self._vectors(self.pruned)

    def _vectors(self, graph: SparseMatrix) -> Vectors:
        h: Tensor = self.light_gcn.embeddings.items
        for _ in range(self.item_layers):
            h = self._similar(h)
        self.light_gcn.graph = graph  # same embeddings, other edges
        users, items = self.light_gcn()
        return Vectors(users, items + h)

    def _similar(self, x: Tensor) -> Tensor:
        """S x, without building S."""
        parts = zip(self.weights, self.item_graphs, strict=True)
        return torch.stack([weight * graph.matmul(x) for weight, graph in parts]).sum(0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """BPR on fused vectors and on projected content, over this epoch's pruned graph."""
        vectors = self.ranked()
        modal = [
            self.ranking(Vectors(vectors.users, projection()), batch)
            for projection in self.projections
        ]
        return {
            "rank": self.ranking(vectors, batch),
            "modal_rank": self.config.modal_ranking * torch.stack(modal).sum(),
        }
