"""Users as the mean of their items, which represents new users without retraining."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.graphs import history_mean
from models.sparse import rows
from models.trainable import HistoryBatch


def of_other_parts(items: Tensor, batch: HistoryBatch) -> Tensor:
    """Sums [R, D] of items [I, D] over the history of each part's user without the part itself."""
    device = batch.part.device
    starts = torch.searchsorted(batch.part, torch.arange(len(batch.user_of_part), device=device))
    sums = F.embedding_bag(batch.item_idx, items, starts, mode="sum")
    totals = sums.new_zeros(len(batch.user_idx), sums.shape[1])
    totals = totals.index_add(0, batch.user_of_part, sums)
    return rows(totals, batch.user_of_part) - sums


class History(nn.Module):
    """Train interactions as an averaging operator.

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
        """Mean of each user's items: [I, D] → [U, D]."""
        return self.mean.matmul(items)

    def without(self, means: Tensor, items: Tensor, user_idx: Tensor, item_idx: Tensor) -> Tensor:
        """Leave-one-out means: users of a batch, each without the item of the same row.

        A mean that contains the item to be ranked predicts that item from itself and learns nothing
        about the others; SLIM (Ning & Karypis 2011) keeps its diagonal at zero for this reason.

        Args:
            means: [U, D], `users(items)`.
            items: [I, D].
            user_idx, item_idx: [B] train interactions.

        Returns:
            [B, D]; zero for a user without any other item.
        """
        count = F.embedding(user_idx, self.counts)
        total = F.embedding(user_idx, means) * count
        others = total - F.embedding(item_idx, items)
        return torch.where(count > 1, others / (count - 1).clamp_min(1), torch.zeros_like(others))
