"""Data with a known answer: each user likes one group of items and no others."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.format.writer import BundleContents
from bundle.ids import IdMap
from tests.support.data.bundles import make_contents
from training.data.dataset import Dataset, Interactions, Modality, fingerprint
from training.evaluation.heldout import HeldOut

N_GROUPS = 4
"""Groups of a data set; item i belongs to group i mod N_GROUPS."""
GROUPS, PER_GROUP, USERS = 8, 10, 160
"""Groups of a bundle, items of each, which follow each other, and users."""


def planted_dataset(
    n_users: int = 80, n_items: int = 60, width: int = 8, seed: int = 0, noise: float = 0.3
) -> Dataset:
    """A data set to fit: user u likes group u mod N_GROUPS and has about half of its items.

    Features [I, width] of both modalities are the group's direction and noise; every 13th item
    lacks the image, the last user has no interaction, the last item none either.
    """
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((N_GROUPS, width)).astype(np.float32)
    groups = np.arange(n_items) % N_GROUPS
    liked = (np.arange(n_users)[:, None] % N_GROUPS == groups) & (
        rng.random((n_users, n_items)) < 0.5
    )
    liked[-1], liked[:, -1] = False, False
    user_idx, item_idx = (x.astype(np.int32) for x in np.nonzero(liked))
    order = rng.permutation(len(user_idx))
    interactions = Interactions(user_idx[order], item_idx[order])

    def modality(present: NDArray[np.bool_]) -> Modality:
        features = directions[groups] + noise * rng.standard_normal((n_items, width))
        features[~present] = 0
        return Modality(features.astype(np.float32), present)

    modalities = {
        "image": modality(np.arange(n_items) % 13 != 0),
        "text": modality(np.ones(n_items, np.bool_)),
    }
    users = IdMap([f"u{u}" for u in range(n_users)], "user_id")
    items = IdMap([f"i{i}" for i in range(n_items)], "item_id")
    return Dataset(
        users,
        items,
        interactions,
        modalities,
        pa.table({"item_id": items.ids}),
        fingerprint(users, items, interactions, modalities),
    )


def planted_contents(rng: np.random.Generator, noise: float = 0.0) -> BundleContents:
    """A bundle of users who have four items of group u mod GROUPS.

    Vectors say which group an item is of; with noise they say it less and less.
    """
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
    """The next two items of the group, of each of the first users of `planted_contents`."""
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
