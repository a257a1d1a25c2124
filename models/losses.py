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
    """Sampled softmax with loss and gradient computed block by block, without [B, N] buffers.

    A plain softmax writes five such buffers, which takes most of a training step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        items: Tensor,
        negatives: Tensor,
        item_idx: Tensor,
        negative_idx: Tensor,
        temperature: float,
    ) -> Tensor:
        total = users.new_zeros(())
        for_users, for_items = torch.empty_like(users), torch.empty_like(items)
        for_negatives = torch.zeros_like(negatives)
        for start in range(0, len(users), _BLOCK):
            rows = slice(start, start + _BLOCK)
            scaled = users[rows] / temperature
            positive = (scaled * items[rows]).sum(1)
            logits = scaled @ negatives.T
            logits.masked_fill_(item_idx[rows].unsqueeze(1) == negative_idx, -torch.inf)
            top = torch.maximum(logits.amax(1), positive)
            shares = logits.sub_(top.unsqueeze(1)).exp_()
            own = (positive - top).exp()
            everything = shares.sum(1) + own
            total += (everything.log() + top - positive).sum()
            shares.div_(everything.unsqueeze(1))
            missing = (own / everything - 1).unsqueeze(1)
            for_users[rows] = shares @ negatives + missing * items[rows]
            for_items[rows] = missing * scaled
            for_negatives.addmm_(shares.T, scaled)
        ctx.save_for_backward(for_users / temperature, for_items, for_negatives)
        return total / len(users)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0] / len(ctx.saved_tensors[0])
        return (*(scale * saved for saved in ctx.saved_tensors), None, None, None)


_sampled_softmax: Callable[..., Tensor] = _SampledSoftmax.apply
_BLOCK = 256


def sampled_softmax(
    users: Tensor,
    items: Tensor,
    negatives: Tensor,
    item_idx: Tensor,
    negative_idx: Tensor,
    temperature: float,
) -> Tensor:
    """Sampled softmax: −log of the positive's softmax probability among itself and the negatives.

    Args:
        users, items: [B, D]; one interaction per row.
        negatives: [N, D], shared by all rows.
        item_idx: [B] items of the rows; a negative that is a row's own item is masked.
        negative_idx: [N] items of the negatives.
        temperature: divides the inner products.
    """
    # Shares of thousands of negatives are too small for the precision of an autocast.
    with torch.autocast(users.device.type, enabled=False):
        return _sampled_softmax(users, items, negatives, item_idx, negative_idx, temperature)


def multinomial(
    users: Tensor,
    items: Tensor,
    bias: Tensor | None,
    known: tuple[Tensor, Tensor],
    wanted: tuple[Tensor, Tensor],
    weights: Tensor,
    temperature: float,
) -> Tensor:
    """Multinomial likelihood: −log of the wanted items' softmax probabilities among all items.

    One row of scores serves all wanted items of a user. Liang et al. 2018 (Mult-VAE) sum over a
    user's items; here each user has a weight.

    Args:
        users: [B, D].
        items: [I, D], all items.
        bias: [I], added to the inner products; None for none.
        known: rows and item_idx, [n] each, that are left out of a row's softmax.
        wanted: rows and item_idx, [m] each; one at least.
        weights: [B], > 0; the result is the weighted mean over the wanted items.
        temperature: divides the scores.
    """
    with torch.autocast(users.device.type, enabled=False):
        logits = users.float() @ items.float().T
        if bias is not None:
            logits = logits + bias
        logits = (logits / temperature).index_put(known, logits.new_tensor(-torch.inf))
        of_wanted = logits.logsumexp(1)[wanted[0]] - logits[wanted]
        each = weights[wanted[0]]
        return (of_wanted * each).sum() / each.sum()


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
