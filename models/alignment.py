"""BMA and SSS on the lines of a model: what is aligned with what, and what each line must keep.

The losses themselves are in `models.losses`; a line is its items' vectors [I, D].
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
    """BMA: the two sides of an interaction meet, in each line.

    Args:
        users, items: for each line [B, D], an interaction a row.
    """
    return _total(pair_alignment(u, i) for u, i in zip(users, items, strict=True))


def modality_alignment(
    encoders: Iterable[ModalEncoder], items: Iterable[Tensor], idx: Tensor, temperature: float
) -> Tensor:
    """BMA: an item's vectors in two modalities find each other among the batch's.

    Args:
        encoders, items: of each modality; items [I, D].
        idx: [n] items of the batch, each once; those that lack one of the two are left out.
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
    """BMA: a projected modal vector finds the behaviour vector of the same user or item.

    Args:
        behaviour, modal: [n, D], the same users or items row by row.
        projection: [D, D].
        temperature: of InfoNCE.
        reach: the line that the gradient moves.
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
    """SSS for each modality; one that is known by its graph alone has nothing to compare.

    Args:
        encoders, items: of each modality; items [I, D].
        idx: [n] items of the batch, each once.
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
    """Those of the items [n] that have the modality."""
    return idx[rows(encoder.present, idx)[:, 0] > 0]


def _total(losses: Iterable[Tensor]) -> Tensor:
    return sum(losses, start=torch.zeros(()))
