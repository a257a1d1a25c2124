"""The linear part: item–item regression in closed form, as item vectors.

On dense data, a regression of each item on all others (EASE, Steck 2019) knows within seconds what
gradient descent learns in an hour or not at all. Its [I, I] weights B cannot be served, since a
score would need a row of B for each item of a history. But B, apart from a diagonal that only
concerns items that the user knows already, is close to a symmetric matrix of low rank, Q Qᵀ. Then
the score Σ_j B_ji over a history is the inner product of item i's row of Q and the sum of the
history's rows: the linear part represents users by their items just as the two lines do.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

OVERSAMPLING = 32
"""Random directions beyond those wanted, in which the error of the subspace gathers."""
ITERATIONS = 6
"""Multiplications of the subspace; 30 change recall@20 and ndcg@20 by at most 0.0003 on
MovieLens-1M and TikTok."""
WEIGHTS = (0.0, *(2.0**k for k in range(-4, 7)))
"""Weights of the linear part to choose from. On sparse data it adds little or nothing (TikTok: 0,
Baby: 1/4), on dense data it is most of the score (MovieLens-1M: 32 after four epochs)."""


class LinearPart(nn.Module):
    """The linear part of a model's item vectors. Its weight is chosen on valid.

    Args:
        vectors: [I, n], of any scale; they are scaled to a mean square length of 1.
        interactions: [I] numbers of train interactions, by which items count in that mean.

    Attributes:
        weight: factor of this part in the scores, one of WEIGHTS.
    """

    vectors: Tensor
    weight: Tensor

    def __init__(self, vectors: Tensor, interactions: Tensor) -> None:
        super().__init__()
        mean = (interactions * vectors.square().sum(1)).sum() / interactions.sum()
        self.register_buffer("vectors", vectors * mean.rsqrt(), persistent=False)
        self.register_buffer("weight", torch.zeros(()))

    @property
    def used(self) -> bool:
        """Use of the part in the scores; False if its weight is 0."""
        return bool(self.weight > 0)

    def forward(self) -> Tensor:
        """Item vectors [I, n], weighted."""
        return self.vectors * self.weight.sqrt()

    def choose(
        self, metrics: Callable[[Sequence[float]], list[dict[str, float]]], selected_on: str
    ) -> dict[str, float]:
        """Choose the weight with the best metrics on valid, and return these.

        Args:
            metrics: those with each of several weights.
            selected_on: the one to maximise.

        The search starts from the last choice and goes on to neighbouring weights while they are
        better. 0 is tried each time, since a weight can be the best among its neighbours alone.
        """
        found: dict[int, dict[str, float]] = {}
        best, previous = WEIGHTS.index(float(self.weight)), -1
        while best != previous:
            previous = best
            near = (best, max(best - 1, 0), min(best + 1, len(WEIGHTS) - 1), 0)
            new = [place for place in dict.fromkeys(near) if place not in found]
            if new:
                found.update(zip(new, metrics([WEIGHTS[place] for place in new]), strict=True))
            best = max(near, key=lambda place: found[place][selected_on])
        self.weight.fill_(WEIGHTS[best])
        return found[best]


@torch.no_grad()
def item_vectors(gram: Tensor, n_columns: int, l2: float, dropout: float) -> Tensor:
    """Item vectors Q of the linear part.

    Args:
        gram: [I, I] float32, X ᵀ W X: products of the items' columns of interactions, users
            weighted by W.
        n_columns: columns of Q; more than I give I.
        l2, dropout: see `regression`.

    Returns:
        [I, n_columns]; ⟨Σ_j Q_j, Q_i⟩ approximates Σ_j B_ji, j over a history without item i.
    """
    weights = regression(gram, l2, dropout)
    return symmetric_factor(gram, weights, min(n_columns, len(gram)))


def regression(gram: Tensor, l2: float, dropout: float) -> Tensor:
    """Weights B [I, I] of the regression of each item's column of X on the other columns.

    B minimises ‖X − X B‖² + ‖Λ^½ B‖² with diag(B) = 0, the rows of X weighted as in the Gram
    matrix; Λ = l2 · I + dropout / (1 − dropout) · diag(Xᵀ W X). The second term of Λ is what
    dropout of the inputs amounts to (EDLAE, Steck 2020, eqs. 3 and 12); without it, this is EASE.

    Args:
        gram: [I, I], Xᵀ W X.
        l2: regularisation, in interactions per item.
        dropout: share of the inputs that are dropped, < 1.
    """
    regularised = gram.double()
    noise = dropout / (1 - dropout) * regularised.diagonal()
    regularised.diagonal().add_(l2 + noise)
    factor = torch.linalg.cholesky(regularised)
    del regularised  # a third of the memory
    inverse = torch.cholesky_inverse(factor)
    del factor
    weights = inverse.div_(-inverse.diagonal().clone()).float()
    return weights.fill_diagonal_(0)


def symmetric_factor(gram: Tensor, weights: Tensor, rank: int) -> Tensor:
    """Q [I, rank] such that the scores X Q Qᵀ are close to X B.

    The columns of Q span the best subspace for the scores, their leading right singular vectors V,
    found by subspace iteration (Halko et al. 2011, algorithm 4.4). Within it, Q Qᵀ = V M Vᵀ, where
    the symmetric M minimises ‖X B V − X V M‖; directions in which M is negative are left out.

    Args:
        gram: [I, I], Xᵀ W X.
        weights: [I, I], B.
        rank: number of columns, at most I.
    """
    start = torch.Generator().manual_seed(0)
    subspace = torch.randn(len(gram), min(rank + OVERSAMPLING, len(gram)), generator=start)
    for _ in range(ITERATIONS):
        subspace = torch.linalg.qr(weights.T @ (gram @ (weights @ subspace))).Q
    scores = weights @ subspace
    directions = torch.linalg.eigh(scores.T @ (gram @ scores)).eigenvectors
    basis = (subspace @ directions[:, -rank:]).double()
    # In the eigenbasis of Vᵀ G V, the normal equations of M, (Vᵀ G V) M + M (Vᵀ G V) = C + Cᵀ,
    # can be solved entry by entry.
    lengths, turned = torch.linalg.eigh(basis.T @ (gram.double() @ basis))
    basis = basis @ turned
    cross = basis.T @ (gram @ (weights @ basis.float())).double()
    sums = (lengths.unsqueeze(0) + lengths.unsqueeze(1)).clamp_min(1e-12)
    found = torch.linalg.eigh((cross + cross.T) / sums)
    factor: Tensor = basis @ (found.eigenvectors * found.eigenvalues.clamp_min(0).sqrt())
    return factor.float()
