"""Held-out interactions that a bundle already has: evaluated on them, it would only remember."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.events.history import encode_histories
from bundle.format.reader import Bundle
from bundle.ids import IdMap
from bundle.sorted_sets import is_member, unique
from bundle.types import Floats


def known_pairs(
    bundle: Bundle, users: Sequence[str], items: IdMap, pairs: Csr
) -> NDArray[np.bool_]:
    """Mask [nnz] of a matrix's interactions that a bundle has.

    Args:
        bundle: the bundle.
        users, items: ids of the matrix's rows and columns.
        pairs: the matrix.
    """
    user_idx, item_idx = pairs.pairs()
    asked = unique(user_idx)
    rows = bundle.users.rows([users[user] for user in asked.tolist()])
    seen_user, seen_item = bundle.seen.select(rows[rows >= 0]).pairs()
    n_items = len(bundle.items)
    seen = asked[rows >= 0][seen_user].astype(np.int64) * n_items + seen_item
    item_rows = bundle.items.rows(items.ids)[item_idx]
    known: NDArray[np.bool_] = (item_rows >= 0) & is_member(
        user_idx.astype(np.int64) * n_items + item_rows, seen
    )
    return known


def selected(pairs: Csr, kept: NDArray[np.bool_]) -> Csr:
    """The kept [nnz] interactions of a matrix."""
    rows, cols = pairs.pairs()
    return Csr.from_pairs(rows[kept], cols[kept], pairs.n_rows, pairs.n_cols)


def vectors_without(
    bundle: Bundle, rows: NDArray[np.int32], withheld: Csr
) -> tuple[Floats, list[NDArray[np.int32]], int]:
    """Vectors and histories of users, as if some of their interactions were not in the bundle.

    Args:
        bundle: the bundle.
        rows: [n] user_idx, -1 for users that are not in the bundle.
        withheld: n × I interactions.

    Returns:
        Vectors [n, D], the bundle's where nothing had to be withheld; item_idx of each user's
        other interactions; the number of vectors that were computed again.
    """
    vectors = np.where(rows[:, None] >= 0, bundle.user_vectors[rows], np.float32(0))
    histories: list[NDArray[np.int32]] = []
    weights: list[Floats] = []
    again: list[int] = []
    for n, row in enumerate(rows.tolist()):
        items, strengths = bundle.history(row) if row >= 0 else (np.empty(0, np.int32), None)
        kept = ~is_member(items, withheld.row(n))
        histories.append(items[kept])
        if strengths is not None and not kept.all():
            again.append(n)
            weights.append(strengths[kept])
    if again:
        indptr = np.concatenate([[0], np.cumsum([len(histories[n]) for n in again])])
        indices = np.concatenate([histories[n] for n in again])
        vectors[again] = encode_histories(
            bundle.user_encoder, bundle.item_vectors, indptr, indices, np.concatenate(weights)
        )
    return vectors, histories, len(again)
