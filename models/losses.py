"""Loss functions of DRepMRec: ranking, alignment (BMA) and the similarity-supervised signal (SSS).

Each returns a scalar mean, so that the weights of terms do not depend on the batch size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking, −log σ(s⁺ − s⁻) (Rendle et al. 2009, eq. 5).

    Args:
        positive: [B] scores of interactions.
        negative: [B, N] scores of sampled items.
    """
    return F.softplus(negative - positive.unsqueeze(1)).mean()


class _SampledSoftmax(torch.autograd.Function):
    """Sampled softmax with loss and gradient computed block by block, without [R, N] buffers.

    A plain softmax writes five such buffers, which takes most of a training step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        negatives: Tensor,
        of_row: Tensor,
        weights: Tensor,
        masked: tuple[Tensor, Tensor],
        temperature: float,
    ) -> Tensor:
        total = users.new_zeros(())
        for_users, for_items = torch.empty_like(users), torch.empty_like(items)
        for_negatives = torch.zeros_like(negatives)
        starts = range(0, len(users), _BLOCK)
        ends = torch.tensor([*starts[1:], len(users)], device=users.device)
        n_items = torch.searchsorted(of_row, ends).tolist()
        n_masked = torch.searchsorted(masked[0], ends).tolist()
        for start, *own, first, last in zip(
            starts, [0, *n_items], n_items, [0, *n_masked], n_masked, strict=False
        ):
            block, mine = slice(start, start + _BLOCK), slice(*own)
            row = of_row[mine] - start
            scaled = users[block] / temperature
            positive = (scaled[row] * items[mine]).sum(1)
            logits = scaled @ negatives.T
            hidden = masked[0][first:last] - start, masked[1][first:last]
            logits.index_put_(hidden, logits.new_tensor(-torch.inf))
            top = logits.amax(1).scatter_reduce(0, row, positive, "amax")
            shares = logits.sub_(top.unsqueeze(1)).exp_()
            of_positive = (positive - top[row]).exp()
            everything = shares.sum(1)[row] + of_positive
            total += ((everything.log() + top[row] - positive) * weights[mine]).sum()
            share = weights[mine] / everything
            missing = (of_positive * share - weights[mine]).unsqueeze(1)
            shares.mul_(top.new_zeros(len(top)).index_add(0, row, share).unsqueeze(1))
            for_users[block] = (shares @ negatives).index_add_(0, row, missing * items[mine])
            for_items[mine] = missing * scaled[row]
            for_negatives.addmm_(shares.T, scaled)
        total_weight = weights.sum()
        ctx.save_for_backward(for_users / temperature, for_items, for_negatives, total_weight)
        return total / total_weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *gradients, total_weight = ctx.saved_tensors
        scale = grads[0] / total_weight
        return (*(scale * gradient for gradient in gradients), *[None] * 4)


_sampled_softmax: Callable[..., Tensor] = _SampledSoftmax.apply
_BLOCK = 256


def sampled_softmax(
    users: Tensor,
    items: Tensor,
    negatives: Tensor,
    of_row: Tensor,
    weights: Tensor,
    masked: tuple[Tensor, Tensor],
    temperature: float,
) -> Tensor:
    """Sampled softmax: −log of a positive's softmax probability among itself and the negatives.

    Args:
        users: [R, D].
        items: [n, D], the positives.
        negatives: [N, D], shared by all rows.
        of_row: [n], ascending: the row of users that each positive belongs to.
        weights: [n] of the positives in the mean, > 0.
        masked: rows, ascending, and places among the negatives, [m] each, that do not count.
        temperature: divides the inner products.
    """
    # Shares of thousands of negatives are too small for the precision of an autocast.
    with torch.autocast(users.device.type, enabled=False):
        return _sampled_softmax(users, items, negatives, of_row, weights, masked, temperature)


def pair_alignment(users: Tensor, items: Tensor) -> Tensor:
    """BMA, intra-alignment: mean ‖n(u) − n(i)‖² over interacting pairs of one line.

    Args:
        users, items: [B, D]; one pair per row.
    """
    return (F.normalize(users, dim=1) - F.normalize(items, dim=1)).square().sum(1).mean()


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE: each query against all keys, and each key against all queries.

    Args:
        queries, keys: [B, D]; row i of both is a positive pair, all other rows are negatives.
        temperature: divides the cosines.
    """
    logits, own = _counterparts(queries, keys, temperature)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def info_nce_one_way(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """InfoNCE of each query against all keys; arguments as in `info_nce`."""
    return F.cross_entropy(*_counterparts(queries, keys, temperature))


def _counterparts(queries: Tensor, keys: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits [B, B], cosines over the temperature, and the column of each row's positive [B]."""
    logits = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / temperature
    return logits, torch.arange(len(logits), device=logits.device)


def similarity_supervision(vectors: Tensor, reference: Tensor, temperature: float) -> Tensor:
    """SSS: KL divergence between the softmax similarities of the vectors and of a reference.

    Self-similarities are excluded on both sides: they are 1 whatever the vectors are.

    Args:
        vectors: [B, D], trained.
        reference: [B, F], e.g. raw features; receives no gradient.
        temperature: divides the cosines on both sides.
    """
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)

    def log_shares(x: Tensor) -> Tensor:
        unit = F.normalize(x, dim=1)
        return F.log_softmax((unit @ unit.T / temperature).masked_fill(own, -1e9), dim=1)

    target = log_shares(reference.detach())
    return F.kl_div(log_shares(vectors), target, reduction="batchmean", log_target=True)
