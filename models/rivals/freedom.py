"""FREEDOM (Zhou & Shen 2023, arXiv 2211.06924), after its equations.

Item–item graph, frozen:  S = Σ_m α_m S_m,  S_m the normalised k-NN graph of X_m
Pruning, every epoch:     keep ⌊|E| (1 − ρ)⌋ edges, drawn by p(u, i) = 1 / √(deg u · deg i)
                          without replacement; normalise what is left anew
Items:                    h_i = (S^L E_I)_i + ẽ_i,  ẽ of LightGCN; users ẽ_u
Loss:                     L_BPR(ẽ_u, h) + λ Σ_m L_BPR(ẽ_u, W_m x + b_m)

Evaluated on the whole user–item graph. Features stay frozen, and an item is not its own neighbour
(the authors' code tunes the one and includes the other).
"""

import torch
from torch import Tensor, nn

from models.behaviour import LightGCN
from models.drepmrec import Batch, Vectors
from models.graphs import interaction_graph
from models.rivals.base import Rival, linear
from models.rivals.config import FreedomConfig
from models.sparse import SparseMatrix


def surviving(
    user_idx: Tensor, item_idx: Tensor, share: float, generator: torch.Generator
) -> Tensor:
    """Edges that stay, by number, in order: ⌊nnz · (1 − share)⌋ of them.

    Drawn one after the other without replacement by 1/√(deg u · deg i), so that edges of popular
    items and busy users go first. −log(uniform)/p is an exponential race of rate p, whose first n
    are such a draw.

    Args:
        user_idx, item_idx: [nnz].
        share: ρ.
        generator: on the CPU.
    """
    degrees = torch.bincount(user_idx)[user_idx] * torch.bincount(item_idx)[item_idx]
    probability = degrees.double().rsqrt()
    uniform = torch.rand(len(probability), generator=generator, dtype=torch.float64)
    arrival = -torch.log(uniform.to(probability.device)) / probability
    n_kept = int(len(arrival) * (1 - share) + 1e-9)
    return torch.sort(torch.topk(arrival, n_kept, largest=False).indices).values


class Projection(nn.Module):
    """W x + b of all items: features [I, F] → [I, D]."""

    features: Tensor

    def __init__(self, features: Tensor, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.linear = linear(features.shape[1], dim, generator)

    def forward(self) -> Tensor:
        """[I, D]."""
        projected: Tensor = self.linear(self.features)
        return projected


class Freedom(Rival):
    """FREEDOM.

    Args:
        user_idx, item_idx, n_users, n_items: see `Rival`.
        features: [I, F_m] of each modality, unit or zero rows.
        item_graphs: S_m [I, I] of each modality.
        weights: α_m of each modality; they add up to 1.
        dim: D.
        user_item_layers: of LightGCN.
        item_layers: L.
        config: hyper-parameters.
        generator: for the initial weights.
    """

    def __init__(
        self,
        user_idx: Tensor,
        item_idx: Tensor,
        n_users: int,
        n_items: int,
        features: list[Tensor],
        item_graphs: list[SparseMatrix],
        weights: list[float],
        dim: int,
        user_item_layers: int,
        item_layers: int,
        config: FreedomConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(user_idx, item_idx, n_users, n_items)
        self.config = config
        self.item_layers = item_layers
        self.weights = weights
        self.interactions = user_idx, item_idx  # on the CPU, where edges are drawn
        graph = interaction_graph(user_idx, item_idx, n_users, n_items)
        self.light_gcn = LightGCN(graph, dim, user_item_layers, generator)
        self.whole = graph
        self.pruned = graph
        self.item_graphs = item_graphs
        self.registered = nn.ModuleList(item_graphs)  # so that they move between devices
        self.projections = nn.ModuleList(Projection(x, dim, generator) for x in features)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Prune the user–item graph anew."""
        user_idx, item_idx = self.interactions
        kept = surviving(user_idx, item_idx, self.config.pruned, generator)
        pruned = interaction_graph(user_idx[kept], item_idx[kept], self.n_users, self.n_items)
        self.pruned = pruned.to(self.observed.device)

    def forward(self) -> Vectors:
        """Users [U, D] and items [I, D], over the whole graph."""
        return self._vectors(self.whole)

    def _vectors(self, graph: SparseMatrix) -> Vectors:
        h: Tensor = self.light_gcn.embeddings.items
        for _ in range(self.item_layers):
            h = self._similar(h)
        self.light_gcn.graph = graph  # the embeddings stay, the paths differ
        users, items = self.light_gcn()
        return Vectors(users, items + h)

    def _similar(self, x: Tensor) -> Tensor:
        """S x, without making S."""
        parts = zip(self.weights, self.item_graphs, strict=True)
        return torch.stack([weight * graph.matmul(x) for weight, graph in parts]).sum(0)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """BPR on fused and on projected content vectors, over this epoch's graph."""
        vectors = self._vectors(self.pruned)
        modal = [
            self.ranking(Vectors(vectors.users, projection()), batch)
            for projection in self.projections
        ]
        return {
            "rank": self.ranking(vectors, batch),
            "modal_rank": self.config.modal_ranking * torch.stack(modal).sum(),
        }
