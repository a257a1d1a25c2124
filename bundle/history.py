"""What a user did, and the vector that it makes: one rule, in the service and in the refresh.

A history is the bundle's interactions and the events since. Of everything that is known of a user
and an item the newest counts: an event replaces the interaction, a later event the earlier one, in
the order in which they were heard. What counts against (a weight below 0) stays in the history,
and so what was disliked is not recommended.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue import Catalogue
from bundle.encoders import UserEncoder
from bundle.events import Event
from bundle.loading import Bundle
from bundle.overlay import Rows

Floats = NDArray[np.float32]
CELLS = 32_768
"""Items of histories that are encoded at a time: 17 MB with 128 columns."""


def weigh(
    seen: Rows, weights: Floats, catalogue: Catalogue, events: Sequence[Event]
) -> tuple[Rows, Floats]:
    """A history of the bundle's interactions [n] with their weights [n] and of events.

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
    """Whether two histories are of the same items with the same weights."""
    return np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def fold_in(bundle: Bundle, vectors: Floats, weights: Floats) -> Floats | None:
    """The vector [D] that the user encoder makes of item vectors [H, D] and weights [H].

    None if nothing that was liked (weight above 0) has a vector.
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
    """`fold_in` for many users, zero where it is None.

    Args:
        encoder: the user encoder.
        item_vectors: [I, D].
        indptr: [n + 1]; the history of user r is items[indptr[r]:indptr[r + 1]].
        items: item_idx of all histories.
        weights: what each counts.

    Returns:
        [n, D].
    """
    lengths = np.diff(indptr)
    result = np.zeros((len(lengths), item_vectors.shape[1]), np.float32)
    has_vector = np.any(item_vectors, axis=1)
    # Users with histories of one length, more or less, lie together: little of a block is padding.
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
        vectors = encoder.encode(item_vectors[history], mask, counts)
        liked = ((counts > 0) & has_vector[history]).any(1)
        result[rows] = np.where(liked[:, None], vectors, np.float32(0))
    return result
