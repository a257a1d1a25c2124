"""Audience of an item: the users in whose recommendations it stands highest.

To rank the item for every user would be a search for each. Only users whose vectors point the way
of the item's are ranked: where it stands for a user does not depend on the vector's length.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.catalogue.catalogue import Catalogue
from bundle.format.manifest import without_popularity
from bundle.format.reader import Bundle
from bundle.search.exact import BLOCK
from bundle.search.similarity import Directions
from bundle.sorted_sets import difference
from bundle.types import Floats, Rows


def likely_users(bundle: Bundle, vector: Floats, count: int) -> Rows:
    """The user_idx [≤ count] with the largest cosine to an item's vector, the largest first.

    Args:
        bundle: the bundle.
        vector: [D] of the item; without a direction nobody is likely.
        count: how many.
    """
    columns = without_popularity(bundle.manifest.parts)
    query = vector[:columns]
    if not query.any():
        return np.empty(0, np.int32)
    cosines = Directions.of(bundle.user_vectors[:, :columns]).cosines(query)
    wanted = min(count, len(cosines))
    best = np.argpartition(-cosines, wanted - 1)[:wanted]
    best = best[np.argsort(-cosines[best], kind="stable")]
    return best[cosines[best] > 0].astype(np.int32)


def ranks(
    catalogue: Catalogue,
    vector: Floats,
    users: Floats,
    histories: Sequence[Rows],
    item_idx: int | None,
) -> NDArray[np.int64]:
    """The position [U], from 1, that an item has for each user among the items new to that user.

    Args:
        catalogue: the items as they are now.
        vector: [D] of the item.
        users: [U, D].
        histories: for each user the item_idx that are not recommended.
        item_idx: of the item, if the catalogue has it.
    """
    scores = users @ vector
    own = np.array([] if item_idx is None else [item_idx], np.int32)
    rows = difference(catalogue.visible, own)
    better = np.zeros(len(users), np.int64)
    for start in range(0, len(rows), BLOCK):
        better += (catalogue.vectors(rows[start : start + BLOCK]) @ users.T > scores).sum(0)
    hidden = np.concatenate([catalogue.overlay.hidden, own])
    for number, history in enumerate(histories):
        seen = catalogue.vectors(difference(history, hidden))
        better[number] -= (seen @ users[number] > scores[number]).sum()
    return better + 1
