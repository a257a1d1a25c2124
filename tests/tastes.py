"""Users who like one group of items each: what a bundle should recommend is known."""

from dataclasses import replace

import numpy as np
from bundle_builders import make_contents

from bundle.contents import BundleContents
from bundle.csr import Csr
from training.heldout import HeldOut

GROUPS, PER_GROUP, USERS = 8, 10, 160


def taste_contents(rng: np.random.Generator, noise: float = 0.0) -> BundleContents:
    """Users who like one group of items each, and vectors that say so, or with noise do not."""
    n_items = GROUPS * PER_GROUP
    contents = make_contents(USERS, n_items, 8, rng=rng, no_interactions=0, n_heavy=0)
    vectors = np.repeat(np.eye(GROUPS, dtype=np.float32), PER_GROUP, axis=0)
    vectors += noise * rng.standard_normal(vectors.shape).astype(np.float32)
    rows = np.repeat(np.arange(USERS), 4)
    cols = (rows % GROUPS) * PER_GROUP + np.tile(np.arange(4), USERS)
    return replace(
        contents,
        item_vectors=vectors,
        item_parts=vectors,
        user_vectors=vectors[cols].reshape(USERS, 4, 8).mean(1),
        seen=Csr.from_pairs(rows, cols, USERS, n_items),
    )


def held_out(contents: BundleContents, users: int = USERS) -> HeldOut:
    """Each user's next two items of the group."""
    rows = np.repeat(np.arange(users), 2)
    cols = (rows % GROUPS) * PER_GROUP + 4 + np.tile(np.arange(2), users)
    history = contents.seen.select(np.arange(users))
    n_items = len(contents.items)
    return HeldOut(
        contents.users.ids[:users],
        contents.items,
        history,
        np.ones(history.nnz, np.float32),
        Csr.from_pairs(rows, cols, users, n_items),
    )
