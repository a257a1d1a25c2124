"""Explanations of scores: by line and modality, and by item of the user's history."""

import numpy as np

from bundle.catalogue.catalogue import Catalogue
from bundle.format.manifest import without_popularity
from bundle.types import Floats, Rows

LEAST_SUM = np.float32(1e-12)
"""Lower bound of a sum that is divided by: an item for which nothing speaks has shares of 0."""


def score_parts(catalogue: Catalogue, vector: Floats, item_idx: Rows) -> dict[str, Floats]:
    """Parts of some items' scores: those of each line, of each modality and of popularity.

    Args:
        catalogue: the items as they are now.
        vector: [D] query.
        item_idx: [n].

    Returns:
        By part [n]; they add up to the scores. NaN for items whose vector is not the bundle's:
        the item encoder does not say what of it came from which modality.
    """
    bundle = catalogue.bundle
    is_added = item_idx >= catalogue.n_bundle
    blocks = np.asarray(bundle.item_parts[np.where(is_added, 0, item_idx)])
    blocks[is_added] = np.nan
    return {
        part.name: blocks[:, bundle.manifest.part_columns(number)] @ vector[part.start : part.stop]
        for number, part in enumerate(bundle.manifest.parts)
    }


def top_shares(
    catalogue: Catalogue, history: Rows, item_idx: Rows, count: int
) -> tuple[Rows, Floats]:
    """The items of a history with the largest shares in some items' scores.

    A folded-in user is the mean of the history's vectors, so a score without its popularity part is
    a sum over the history of ⟨z_j, z_i⟩. A share is item j's part of the positive terms of item i;
    negative terms count as 0.

    Args:
        catalogue: the items as they are now.
        history: [H] item_idx.
        item_idx: [n].
        count: how many of the history; C is this number, or H if that is less.

    Returns:
        Positions in the history [n, C], the largest share first, and shares [n, C] of the whole;
        0 for items that do not contribute.
    """
    columns = without_popularity(catalogue.bundle.manifest.parts)
    ours = catalogue.vectors(history)[:, :columns]
    products = np.maximum(catalogue.vectors(item_idx)[:, :columns] @ ours.T, np.float32(0))
    shares: Floats = products / np.maximum(products.sum(1, keepdims=True), LEAST_SUM)
    if len(history) > count:
        best = np.argpartition(-shares, count - 1, axis=1)[:, :count]
        best.sort(axis=1)  # equal shares keep the order of the history
    else:
        best = np.arange(len(history))[None].repeat(len(item_idx), axis=0)
    found = np.take_along_axis(shares, best, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return (
        np.take_along_axis(best, order, axis=1).astype(np.int32),
        np.take_along_axis(found, order, axis=1),
    )
