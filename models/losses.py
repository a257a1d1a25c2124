"""Losses of DRepMRec: ranking, alignment (BMA) and the similarity-supervised signal (SSS).

Every function returns a scalar mean, so that weights do not depend on the batch size.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def bpr(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking, −log σ(s⁺ − s⁻) (Rendle et al. 2009, eq. 5).

    Args:
        positive: [B] scores of interactions.
        negative: [B, N] scores of items that were drawn.
    """
    return F.softplus(negative - positive.unsqueeze(1)).mean()


def sampled_softmax(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """−log of the softmax share of the positive among itself and the negatives.

    Args:
        positive: [B].
        negative: [B, N]; −∞ marks a drawn item that is the positive itself.
        temperature: divides the scores.
    """
    positive, negative = positive / temperature, negative / temperature
    everything = torch.logaddexp(positive, torch.logsumexp(negative, dim=1))
    return (everything - positive).mean()


def pair_alignment(users: Tensor, items: Tensor) -> Tensor:
    """BMA, intra-alignment: ‖n(u) − n(i)‖² of interacting pairs inside one line.

    Args:
        users, items: [B, D], a pair a row.
    """
    return (F.normalize(users, dim=1) - F.normalize(items, dim=1)).square().sum(1).mean()


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """BMA, inter-alignment: each row finds its counterpart among all rows, both ways.

    Args:
        queries, keys: [B, D], counterparts row by row; the other rows are the negatives.
        temperature: divides the cosines.
    """
    logits = F.normalize(queries, dim=1) @ F.normalize(keys, dim=1).T / temperature
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def similarity_supervision(vectors: Tensor, reference: Tensor, temperature: float) -> Tensor:
    """SSS: KL from the row-wise softmax of the reference's cosines to the vectors' ones.

    A row's similarity to itself is left out on both sides: it is 1 whatever the vectors are.

    Args:
        vectors: [B, D] being trained.
        reference: [B, F] fixed, e.g. raw features; no gradient reaches it.
        temperature: divides the cosines on both sides.
    """
    own = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)

    def log_shares(x: Tensor) -> Tensor:
        unit = F.normalize(x, dim=1)
        return F.log_softmax((unit @ unit.T / temperature).masked_fill(own, -1e9), dim=1)

    target = log_shares(reference.detach())
    return F.kl_div(log_shares(vectors), target, reduction="batchmean", log_target=True)
