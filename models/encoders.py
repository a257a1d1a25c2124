"""What is exported as ONNX: vectors for items and users that were not there at training time.

Both encoders are linear maps, fitted in closed form to the trained vectors: nothing
to tune, the same result each time, and cheap enough for the request path. The last column of the
vectors may be the popularity part, a bias of the item: users have 1 there.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def ridge(pairs: Iterable[tuple[Tensor, Tensor]], strength: float) -> Tensor:
    """W that minimises Σ‖xW − y‖² + strength · mean(diag XᵀX) · ‖W‖².

    Args:
        pairs: blocks of rows ([n, P], [n, Q]); only the sums over them are kept. At least one.
        strength: relative to the inputs' mean square, so that their scale does not matter.

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
    """z_i = Σ_m present_m · n(x_m) W_m + present · V, each group of columns on its sphere.

    Args:
        widths: F_m of each modality, in order.
        columns: (start, stop) of each group of columns.
        lengths: length of each group's vector.
        needs: [G, M] bool: a group is zero for an item that has none of these modalities.
        weight: [ΣF_m + M, D] the maps W_m and V below each other; D without the popularity part.
        popularity: a new item's bias, None if the vectors have no popularity part.
    """

    weight: Tensor
    needs: Tensor

    def __init__(
        self,
        widths: list[int],
        columns: list[tuple[int, int]],
        lengths: list[float],
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
        """Unit features side by side, absent ones zero, and the mask: [B, ΣF_m + M]."""
        masked = [F.normalize(x, dim=1) * present[:, m : m + 1] for m, x in enumerate(features)]
        return torch.cat([*masked, present], 1)

    def forward(self, *features_and_present: Tensor) -> Tensor:
        """Features [B, F_m] of each modality, then present [B, M] → item vectors [B, D]."""
        *features, present = features_and_present
        mapped = self.inputs(features, present) @ self.weight
        has = ((present @ self.needs.T) > 0).to(mapped.dtype)
        parts = [
            length * F.normalize(mapped[:, start:stop], dim=1) * has[:, g : g + 1]
            for g, ((start, stop), length) in enumerate(
                zip(self.columns, self.lengths, strict=True)
            )
        ]
        if self.popularity is not None:
            parts.append(torch.full_like(mapped[:, :1], self.popularity))
        return torch.cat(parts, 1)


class UserEncoder(nn.Module):
    """z_u = the weighted mean of the history's vectors, mapped, on the unit sphere.

    Args:
        weight: the map [D, D], D without the popularity part; None where users are not mapped.
        popularity: whether the vectors have a popularity part.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None, popularity: bool = False) -> None:
        super().__init__()
        self.popularity = popularity
        self.register_buffer("weight", weight)

    def forward(self, item_vectors: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        """History [B, H, D], mask [B, H], weights [B, H] → user vectors [B, D]."""
        share = (mask * weights).unsqueeze(2)
        mean = (item_vectors * share).sum(1) / share.sum(1).clamp_min(1e-12)
        if self.popularity:
            mean = mean[:, :-1]
        vector = F.normalize(mean if self.weight is None else mean @ self.weight, dim=1)
        if self.popularity:
            # Nobody without a history gets a vector, not even the one that ranks by popularity.
            vector = torch.cat([vector, (share.sum(1) > 0).to(mean.dtype)], 1)
        return vector
