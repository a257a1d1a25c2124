"""Users as the mean of their items, so that a user is known as soon as an item is."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.graphs import history_mean
from models.sparse import rows


class History(nn.Module):
    """Who interacted with what, for averages over it.

    Args:
        user_idx, item_idx: [nnz] train interactions, each pair once.
        n_users, n_items: U and I.
    """

    counts: Tensor
    first: Tensor
    items: Tensor

    def __init__(self, user_idx: Tensor, item_idx: Tensor, n_users: int, n_items: int) -> None:
        super().__init__()
        self.mean = history_mean(user_idx, item_idx, n_users, n_items)
        counts = torch.bincount(user_idx, minlength=n_users)
        self.register_buffer("counts", counts.float().unsqueeze(1), persistent=False)
        # Row by row, so that number n of user u is items[first[u] + n].
        self.register_buffer("first", torch.cumsum(counts, 0) - counts, persistent=False)
        by_user = item_idx[torch.argsort(user_idx, stable=True)]
        self.register_buffer("items", by_user, persistent=False)

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
        count = rows(self.counts, user_idx)
        others = rows(means, user_idx) * count - rows(items, item_idx)
        return torch.where(count > 1, others / (count - 1).clamp_min(1), torch.zeros_like(others))

    def sample_without(
        self, items: Tensor, user_idx: Tensor, item_idx: Tensor, draws: Tensor
    ) -> Tensor:
        """`without`, from some of each user's items.

        A few users may hold most of the interactions (103 of TikTok's hold 71 %), and their means
        hardly move. Seen through a few items at a time, they are as many users as those whom the
        model will have to serve: with short histories.

        Args:
            items: [I, D].
            user_idx, item_idx: [B] train interactions.
            draws: [B, S] uniform in [0, 1), which S items, with repeats; whoever has at most S
                keeps all of them.

        Returns:
            [B, D]; zero where nothing but the left-out item was drawn.
        """
        count = rows(self.counts, user_idx).long()
        place = torch.arange(draws.shape[1], device=draws.device).expand_as(draws)
        few = count <= draws.shape[1]
        drawn = torch.where(few, torch.minimum(place, count - 1), (draws * count).long())
        members = self.items[self.first[user_idx].unsqueeze(1) + drawn]
        kept = (members != item_idx.unsqueeze(1)) & (~few | (place < count))
        share = kept / kept.sum(1, keepdim=True).clamp_min(1)
        return F.embedding_bag(members, items, mode="sum", per_sample_weights=share.to(items.dtype))
