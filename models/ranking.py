"""Ranking loss L_rank of batches: their items against sampled negatives, by fused scores."""

import torch
from torch import Tensor

from models.config import ModelConfig
from models.losses import bpr, sampled_softmax
from models.sparse import rows
from models.trainable import Batch, HistoryBatch


def rank_interactions(
    users: Tensor, items: Tensor, bias: Tensor | None, batch: Batch, config: ModelConfig
) -> Tensor:
    """L_rank of a batch of interactions.

    Args:
        users: [B, D], one for each interaction.
        items: [I, D].
        bias: [I], added to the inner products; None for none.
        batch: the interactions.
        config: loss and temperature.
    """
    users, wanted, drawn = _with_bias(users, items, bias, batch)
    drawn_itself = batch.item_idx.unsqueeze(1) == batch.negatives
    if config.ranking == "softmax":
        each, weights = torch.arange(len(users), device=users.device), users.new_ones(len(users))
        row, place = drawn_itself.nonzero(as_tuple=True)
        return sampled_softmax(
            users, wanted, drawn, each, weights, (row, place), config.temperature
        )
    positive, negative = (users * wanted).sum(1), users @ drawn.T
    negative = negative.masked_fill(drawn_itself, -torch.inf)
    return bpr(positive / config.temperature, negative / config.temperature)


def rank_histories(
    users: Tensor, items: Tensor, bias: Tensor | None, batch: HistoryBatch, config: ModelConfig
) -> Tensor:
    """L_rank of a batch of histories: each item of a part against negatives outside of the part.

    Items of the user's other parts are negatives like any other: leaving them out takes longer, and
    valid metrics are level or lower.

    Args:
        users: [R, D], one for each part: the user without it.
        items, bias, config: as of `rank_interactions`.
        batch: the histories.
    """
    users, wanted, drawn = _with_bias(users, items, bias, batch)
    place = torch.full((len(items),), -1, device=items.device)
    place[batch.negatives] = torch.arange(len(drawn), device=items.device)
    place = place[batch.item_idx]
    own = batch.part[place >= 0], place[place >= 0]
    user = batch.user_of_part[batch.part]
    weights = torch.bincount(user)[user] ** -config.history_discount
    return sampled_softmax(users, wanted, drawn, batch.part, weights, own, config.temperature)


def _with_bias(
    users: Tensor, items: Tensor, bias: Tensor | None, batch: Batch | HistoryBatch
) -> tuple[Tensor, Tensor, Tensor]:
    """Users, a batch's items and its negatives, with the items' bias, if any, as a last column."""
    wanted, drawn = rows(items, batch.item_idx), rows(items, batch.negatives)
    if bias is None:
        return users, wanted, drawn
    columns = bias.unsqueeze(1)
    return (
        torch.cat([users, users.new_ones(len(users), 1)], 1),
        torch.cat([wanted, rows(columns, batch.item_idx)], 1),
        torch.cat([drawn, rows(columns, batch.negatives)], 1),
    )
