"""Lines, and the groups in which their vectors are fused."""

from typing import NamedTuple

import torch
from torch import Tensor

from models.modal import unit


class Line(NamedTuple):
    """Vectors of one line.

    Attributes:
        items: [I, D].
        users: [U, D]; None if users are the mean of their items.
        layers: number of layers that given users are the mean of, the first being the mean of their
            items; 0 if users have free embeddings.
    """

    items: Tensor
    users: Tensor | None = None
    layers: int = 0


class Group(NamedTuple):
    """A fusion group: lines or modalities that share columns, weight · n(Σ members).

    Attributes:
        weight: norm of the group's vector.
        members: [n, dim] of each line or modality, by name.
    """

    weight: float
    members: dict[str, Tensor]

    def vector(self) -> Tensor:
        """The group's columns of the fused vectors, [n, dim]."""
        return self.weight * unit(torch.stack(list(self.members.values())).sum(0))

    def parts(self) -> dict[str, Tensor]:
        """Additive contribution of each member to `vector()`, [n, dim] each."""
        length = torch.stack(list(self.members.values())).sum(0).norm(dim=1, keepdim=True)
        scale = self.weight / length.clamp_min(1e-12)  # as F.normalize: zero stays zero
        return {name: scale * member for name, member in self.members.items()}
