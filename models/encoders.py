"""Encoders for items and users that were unknown at training time; exported as ONNX.

Both are linear maps, fitted in closed form to the trained vectors: nothing to tune, deterministic,
and cheap enough for the request path. The last column of the vectors may be the popularity part:
an item's bias there, and 1 for users.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CANCELLED = 1e-3
"""Length of the mean of a history's unit vectors below which its likes and dislikes cancel out, so
that nothing may be divided by it."""


def ridge(pairs: Iterable[tuple[Tensor, Tensor]], strength: float) -> Tensor:
    """Ridge regression: W that minimises Σ‖xW − y‖² + strength · mean(diag XᵀX) · ‖W‖².

    Args:
        pairs: at least one block of rows ([n, P], [n, Q]); only sums over blocks stay in memory.
        strength: regularisation relative to the inputs' mean square, hence independent of their
            scale.

    Returns:
        [P, Q].
    """
    gram, cross = torch.zeros(()), torch.zeros(())
    for x, y in pairs:
        gram, cross = gram + x.double().T @ x.double(), cross + x.double().T @ y.double()
    scale = strength * gram.diagonal().mean().clamp_min(1e-12)
    solution: Tensor = torch.linalg.solve(gram + scale * torch.eye(len(gram)), cross)
    return solution.float()


class ItemEncoder(nn.Module):
    """Item encoder: z_i = Σ_m present_m · n(x_m) W_m + present · V, scaled per column group.

    Args:
        widths: F_m of each modality, in order.
        columns: (start, stop) of each column group.
        lengths: norm of each group's vector; None for a group that is left as it is mapped, the
            linear part.
        needs: [G, M] bool; a group is zero for an item that has none of its modalities.
        weight: [ΣF_m + M, D] the maps W_m and V, stacked; D excludes the popularity part.
        popularity: bias of a new item; None if the vectors have no popularity part.
    """

    weight: Tensor
    needs: Tensor

    def __init__(
        self,
        widths: list[int],
        columns: list[tuple[int, int]],
        lengths: list[float | None],
        needs: Tensor,
        weight: Tensor,
        popularity: float | None = None,
    ) -> None:
        super().__init__()
        self.widths = widths
        self.columns = columns
        self.lengths = lengths
        self.popularity = popularity
        self.register_buffer("needs", needs.float())
        self.register_buffer("weight", weight)

    @staticmethod
    def inputs(features: list[Tensor], present: Tensor) -> Tensor:
        """Concatenated unit features, zero where absent, and the mask: [B, ΣF_m + M]."""
        masked = [F.normalize(x, dim=1) * present[:, m : m + 1] for m, x in enumerate(features)]
        return torch.cat([*masked, present], 1)

    def forward(self, *features_and_present: Tensor) -> Tensor:
        """Features [B, F_m] of each modality and `present` [B, M] → item vectors [B, D]."""
        *features, present = features_and_present
        mapped = self.inputs(features, present) @ self.weight
        has = ((present @ self.needs.T) > 0).to(mapped.dtype)
        parts = []
        for g, ((start, stop), length) in enumerate(zip(self.columns, self.lengths, strict=True)):
            part = mapped[:, start:stop] * has[:, g : g + 1]
            parts.append(part if length is None else length * F.normalize(part, dim=1))
        if self.popularity is not None:
            parts.append(torch.full_like(mapped[:, :1], self.popularity))
        return torch.cat(parts, 1)


class UserEncoder(nn.Module):
    """User encoder: z_u = the weighted mean of the history's item vectors, mapped and scaled.

    The columns of the lines are mapped and have unit length. Those of the linear part are divided
    by the length that the lines' mean had before.

    Args:
        weight: the map [W, W] of the lines' columns; None for the identity.
        popularity: whether the vectors have a popularity part, the last column.
        linear: number of columns of the linear part, between the lines and the popularity part.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, popularity: bool = False, linear: int = 0) -> None:
        super().__init__()
        self.popularity = popularity
        self.linear = linear
        self.register_buffer("weight", weight)

    def forward(self, item_vectors: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """History [B, H, D], mask [B, H], weights [B, H] → user vectors [B, D]."""
        share = (mask * weights).unsqueeze(2)
        mean = (item_vectors * share).sum(1) / share.sum(1).clamp_min(1e-12)
        if self.popularity:
            mean = mean[:, :-1]
        lines = mean[:, : mean.shape[1] - self.linear]
        vector = F.normalize(lines if self.weight is None else lines @ self.weight, dim=1)
        if self.linear:
            length = lines.norm(dim=1, keepdim=True).clamp_min(CANCELLED)
            vector = torch.cat([vector, mean[:, -self.linear :] / length], 1)
        if self.popularity:
            # Users without a history get a zero vector, not one that ranks by popularity.
            vector = torch.cat([vector, (share.sum(1) > 0).to(mean.dtype)], 1)
        return vector
