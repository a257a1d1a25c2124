"""Catalogues in which a share of the items has lost one modality.

Input of the curve of quality over missing content.
"""

from dataclasses import replace

import numpy as np

from training.data.dataset import Modality


def lose_one_modality(
    modalities: dict[str, Modality], share: float, rng: np.random.Generator
) -> dict[str, Modality]:
    """Copies of the modalities in which a share of the items has one modality less.

    The items, and which of its modalities an item loses, are drawn. With the same seed, the items
    of a smaller share are a subset of those of a larger one and lose the same modality.

    Args:
        modalities: by name, of I items each; not changed.
        share: of the I items, rounded down to whole items.
        rng: source of the draws.
    """
    present = np.stack([modality.present for modality in modalities.values()])
    n_items = present.shape[1]
    first = rng.permutation(n_items)[: int(share * n_items + 1e-9)]
    # Argmax of uniform numbers over the present modalities: each is equally likely.
    lost = np.where(present, rng.random(present.shape), -1).argmax(0)
    missing = np.zeros_like(present)
    missing[lost[first], first] = True
    return {
        name: _without(modality, of_modality)
        for (name, modality), of_modality in zip(modalities.items(), missing, strict=True)
    }


def _without(modality: Modality, missing: np.ndarray) -> Modality:
    features = np.where(missing[:, None], np.float32(0), modality.features)
    kept = replace(modality, features=features, present=modality.present & ~missing)
    if modality.neighbour_idx is None or modality.neighbour_cos is None:
        return kept
    gone = missing[:, None] | missing[modality.neighbour_idx] | (modality.neighbour_idx < 0)
    return replace(
        kept,
        neighbour_idx=np.where(gone, np.int32(-1), modality.neighbour_idx),
        neighbour_cos=np.where(gone, np.float32(0), modality.neighbour_cos),
    )
