"""Alignment terms of the loss: BMA between and within lines, SSS within each modality.

`models.losses` has the loss functions; this module applies them to the lines of a model.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from models.losses import info_nce, pair_alignment, similarity_supervision
from models.modal import ModalEncoder
from models.sparse import rows

Reach = Literal["both", "behaviour", "modal"]


def intra_alignment(users: Iterable[Tensor], items: Iterable[Tensor]) -> Tensor:
    """BMA, intra-alignment: within each line, the user and item of an interaction.

    Args:
        users, items: [B, D] of each line; one interaction per row.
    """
    return _total(pair_alignment(u, i) for u, i in zip(users, items, strict=True))


def modality_alignment(
    encoders: Iterable[ModalEncoder], items: Iterable[Tensor], idx: Tensor, temperature: float
) -> Tensor:
    """BMA, modality alignment: InfoNCE between an item's vectors in each pair of modalities.

    Args:
        encoders: one per modality.
        items: [I, D] of each modality.
        idx: [n] distinct items of the batch; a pair of modalities skips items that lack either.
        temperature: of InfoNCE.
    """
    losses = []
    for (encoder_a, a), (encoder_b, b) in combinations(zip(encoders, items, strict=True), 2):
        both = present(encoder_b, present(encoder_a, idx))
        losses.append(info_nce(rows(a, both), rows(b, both), temperature))
    return _total(losses)


def inter_alignment(
    behaviour: Tensor, modal: Tensor, projection: Tensor, temperature: float, reach: Reach
) -> Tensor:
    """BMA, inter-alignment: InfoNCE between projected modal vectors and behaviour vectors.

    Args:
        behaviour, modal: [n, D]; row i of both is the same user or item.
        projection: [D, D].
        temperature: of InfoNCE.
        reach: the line that receives the gradient.
    """
    match reach:
        case "modal":
            behaviour = behaviour.detach()
        case "behaviour":
            modal = modal.detach()
        case "both":
            pass
    return info_nce(modal @ projection, behaviour, temperature)


def similarity_supervised_signal(
    encoders: Iterable[ModalEncoder], items: Iterable[Tensor], idx: Tensor, temperature: float
) -> Tensor:
    """SSS, summed over the modalities with features; one given by its graph only is skipped.

    Args:
        encoders: one per modality.
        items: [I, D] of each modality.
        idx: [n] distinct items of the batch.
        temperature: of both softmaxes.
    """
    losses = []
    for encoder, vectors in zip(encoders, items, strict=True):
        there = present(encoder, idx)
        if encoder.gate is not None and len(there) > 1:
            features = rows(encoder.features, there)
            losses.append(similarity_supervision(rows(vectors, there), features, temperature))
    return _total(losses)


def present(encoder: ModalEncoder, idx: Tensor) -> Tensor:
    """The subset of item numbers [n] whose items have the modality."""
    return idx[rows(encoder.present, idx)[:, 0] > 0]


def _total(losses: Iterable[Tensor]) -> Tensor:
    return sum(losses, start=torch.zeros(()))
