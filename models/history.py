"""Users as the mean of their items, so that a user is known as soon as an item is."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.graphs import history_mean


class History(nn.Module):
    """Who interacted with what, for averages over it.

    Args:
        user_idx, item_idx: [nnz] train interactions, each pair once.
        n_users, n_items: U and I.
    """

    counts: Tensor

    def __init__(self, user_idx: Tensor, item_idx: Tensor, n_users: int, n_items: int) -> None:
        super().__init__()
        self.mean = history_mean(user_idx, item_idx, n_users, n_items)
        counts = torch.bincount(user_idx, minlength=n_users).float()
        self.register_buffer("counts", counts.unsqueeze(1), persistent=False)

    def users(self, items: Tensor) -> Tensor:
        """The mean of each user's items: [I, D] → [U, D]."""
        return self.mean.matmul(items)

    def without(self, means: Tensor, items: Tensor, user_idx: Tensor, item_idx: Tensor) -> Tensor:
        """What a batch's users would be without the item of the same row.

        A user who contains the very item that is to be ranked teaches nothing about the others;
        it is the diagonal that SLIM (Ning & Karypis 2011) keeps at zero.

        Args:
            means: [U, D], `users(items)`.
            items: [I, D].
            user_idx, item_idx: [B] train interactions.

        Returns:
            [B, D]; zero for a user whose only item it is.
        """
        count = F.embedding(user_idx, self.counts)
        total = F.embedding(user_idx, means) * count
        others = total - F.embedding(item_idx, items)
        return torch.where(count > 1, others / (count - 1).clamp_min(1), torch.zeros_like(others))
