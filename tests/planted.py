"""A small world with a known answer: users like one of a few groups of items, and nothing else."""

import numpy as np
import pyarrow as pa

from bundle.ids import IdMap
from training.dataset import Dataset, Interactions, Modality, fingerprint

N_GROUPS = 4


def planted_dataset(
    n_users: int = 80, n_items: int = 60, width: int = 8, seed: int = 0, noise: float = 0.3
) -> Dataset:
    """Item i belongs to group i mod 4, user u likes group u mod 4 and took about half of it.

    Features of both modalities are the group's direction and noise; every 13th item lacks the
    image, the last user has no interaction, the last item none either.
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

    def modality(present: np.ndarray) -> Modality:
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
