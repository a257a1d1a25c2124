"""User histories, and user vectors computed from them (fold-in).

The service and a refresh use the same rule. A history consists of the interactions in the bundle
and of the events since. For each pair of user and item the newest one counts, in the order of
arrival: an event replaces the interaction in the bundle, and a later event the earlier one.
Dislikes (weights below 0) stay in the history, so that disliked items are not recommended.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue.catalogue import Catalogue
from bundle.events.records import Event
from bundle.format.encoders import UserEncoder
from bundle.format.reader import Bundle
from bundle.types import Floats, Rows

CELLS = 32_768
"""Number of history entries that are encoded at a time: 17 MB of vectors with 128 columns."""


def weigh(
    seen: Rows, weights: Floats, catalogue: Catalogue, events: Sequence[Event]
) -> tuple[Rows, Floats]:
    """The history of a user, from interactions of the bundle and events.

    Args:
        seen: item_idx [n] of the interactions in the bundle.
        weights: weights [n] of the interactions.
        catalogue: the current items.
        events: events since the bundle was made, oldest first.

    Returns:
        item_idx [H], ascending, and weights [H]. Events with unknown items are left out.
    """
    weight_of = dict(zip(seen.tolist(), weights.tolist(), strict=True))
    rows = catalogue.rows([event.item_id for event in events])
    for row, event in zip(rows.tolist(), events, strict=True):
        if row >= 0:
            weight_of[row] = event.weight
    history = np.fromiter(weight_of, np.int32, len(weight_of))
    order = np.argsort(history)
    return history[order], np.fromiter(weight_of.values(), np.float32, len(weight_of))[order]


def same_history(one: tuple[Rows, Floats], other: tuple[Rows, Floats]) -> bool:
    """True if two histories have the same items with the same weights."""
    return np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def fold_in(bundle: Bundle, vectors: Floats, weights: Floats) -> Floats | None:
    """User vector [D] for a history with item vectors [H, D] and weights [H].

    None if no liked item (weight above 0) has a vector.
    """
    if not ((weights > 0) & vectors.any(axis=1)).any():
        return None
    mask = np.ones((1, len(weights)), np.bool_)
    vector: Floats = bundle.user_encoder.encode(vectors[None], mask, weights[None])[0]
    return vector if vector.any() else None


def encode_histories(
    encoder: UserEncoder,
    item_vectors: Floats,
    indptr: NDArray[np.int64],
    items: Rows,
    weights: Floats,
) -> Floats:
    """`fold_in` for many users; zero vectors where it returns None.

    Args:
        encoder: the user encoder.
        item_vectors: [I, D].
        indptr: [n + 1]; the history of user r is items[indptr[r]:indptr[r + 1]].
        items: item_idx of all histories, one after another.
        weights: weights of these entries.

    Returns:
        User vectors [n, D].
    """
    lengths = np.diff(indptr)
    result = np.zeros((len(lengths), item_vectors.shape[1]), np.float32)
    # Sorted by length, so that the histories of a block need little padding.
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= CELLS:
            stop += 1
        rows = order[start:stop]
        start = stop
        longest = int(lengths[rows[-1]])
        if not longest:
            continue
        steps = np.arange(longest)
        mask = steps < lengths[rows, None]
        places = np.where(mask, indptr[rows, None] + steps, 0)
        history, counts = items[places], np.where(mask, weights[places], np.float32(0))
        vectors = item_vectors[history]
        encoded = encoder.encode(vectors, mask, counts)
        # Few vectors begin with 0, so that few are read to the end.
        liked = ((counts > 0) & (vectors[:, :, 0] != 0)).any(axis=1)
        others = np.flatnonzero(~liked)
        liked[others] = ((counts[others] > 0) & vectors[others].any(axis=2)).any(axis=1)
        result[rows] = np.where(liked[:, None], encoded, np.float32(0))
    return result
