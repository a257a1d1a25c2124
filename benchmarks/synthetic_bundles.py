"""Synthetic bundles of any size: untrained vectors, and encoders that are real ONNX models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.format.manifest import Part
from bundle.format.writer import BundleContents
from bundle.ids import IdMap
from tests.support.data.bundles import make_contents

Float = NDArray[np.float32]
N_USERS, N_ITEMS, DIM, MEAN_HISTORY = 9_308, 6_710, 128, 6
"""Size of a bundle of the TikTok data set."""
DIRECTIONS, LIKED, NOISE = 2_000, 5, 0.8
"""Of a clustered bundle: cluster directions, items that a user's vector averages, and length of the
noise added to a direction of length 1."""
CENTRES, HISTORY = 1_000, 20
"""Of a bundle with histories: cluster centres, and interactions of a user."""
BLOCK = 65_536
"""Users whose vectors are written at a time; it bounds memory."""


def random_bundle(seed: int, n_users: int = N_USERS, n_items: int = N_ITEMS) -> BundleContents:
    """Random unit vectors, by default as many as a bundle of TikTok has."""
    rng = np.random.default_rng(seed)
    return make_contents(n_users, n_items, DIM, rng=rng, mean_history=MEAN_HISTORY)


def clustered_bundle(n_users: int, n_items: int, dim: int) -> BundleContents:
    """Items around DIRECTIONS; a user is the mean of LIKED items of two directions.

    The item table has a column `part`, the item's number modulo 100.
    """
    rng = np.random.default_rng(0)
    small = make_contents(10, 20, dim, rng=rng)  # its encoders fit any number of items

    def unit(rows: Float) -> Float:
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    directions = unit(rng.standard_normal((DIRECTIONS, dim), np.float32))
    direction = np.sort(rng.integers(DIRECTIONS, size=n_items))
    noise = rng.standard_normal((n_items, dim), np.float32) * np.float32(NOISE / dim**0.5)
    items = unit(directions[direction] + noise)
    first = np.searchsorted(direction, np.arange(DIRECTIONS + 1))
    wanted = rng.integers(DIRECTIONS, size=(n_users, 2))[:, [0, 0, 0, 1, 1]]
    low, high = first[wanted], np.maximum(first[wanted + 1], first[wanted] + 1)
    liked = np.minimum(rng.integers(low, high), n_items - 1)
    users = unit(sum((items[liked[:, n]] for n in range(LIKED)), np.zeros((n_users, dim), "f4")))
    rows = np.repeat(np.arange(n_users), LIKED)
    ids = IdMap([f"item-{n}" for n in range(n_items)], "item_id")
    shuffled = rng.permutation(n_items)
    return replace(
        small,
        users=IdMap([f"user-{n}" for n in range(n_users)], "user_id"),
        items=ids,
        user_vectors=users.astype(np.float32),
        item_vectors=items[shuffled],
        item_parts=items[shuffled],
        seen=Csr.from_pairs(rows, np.argsort(shuffled)[liked].ravel(), n_users, n_items),
        item_table=pa.table({"item_id": ids.ids, "part": np.arange(n_items) % 100}),
    )


def bundle_with_histories(n_users: int, n_items: int, dim: int, folder: Path) -> BundleContents:
    """Items around CENTRES; every user has HISTORY random items and is the mean of three of them.

    Args:
        n_users, n_items, dim: size of the bundle.
        folder: where the users' vectors are mapped; they may exceed the memory.
    """
    rng = np.random.default_rng(0)
    small = make_contents(2, 2, dim, rng=rng, no_interactions=0, n_heavy=0)
    centres = rng.standard_normal((CENTRES, dim)).astype(np.float32)
    items = centres[rng.integers(CENTRES, size=n_items)]
    items += 0.5 * rng.standard_normal((n_items, dim)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    chosen = rng.integers(n_items, size=(n_users, HISTORY), dtype=np.int32)
    seen = Csr.from_pairs(
        np.repeat(np.arange(n_users, dtype=np.int32), HISTORY), chosen.ravel(), n_users, n_items
    )
    path = folder / "users.npy"
    users = np.lib.format.open_memmap(path, "w+", np.float32, (n_users, dim))
    for start in range(0, n_users, BLOCK):
        users[start : start + BLOCK] = items[chosen[start : start + BLOCK, :3]].mean(1)
    return replace(
        small,
        users=IdMap([f"user-{u}" for u in range(n_users)], "user_id"),
        items=IdMap([f"item-{i}" for i in range(n_items)], "item_id"),
        user_vectors=users,
        item_vectors=items,
        parts=[Part(name="behaviour", start=0, stop=dim)],
        item_parts=items,
        seen=seen,
        item_table=pa.table({"item_id": [f"item-{i}" for i in range(n_items)]}),
    )
