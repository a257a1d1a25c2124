"""Users of the next bundle, assembled from blocks.

Interactions are ascending keys, user · J + item. Shapes: V users and J items of the next bundle.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bundle.csr import Csr
from bundle.format.reader import Bundle
from bundle.types import Floats
from training.refresh.encoding.blocks import Interactions, Keys, write_blocks
from training.refresh.encoding.plan import EncodingPlan
from training.refresh.encoding.spill import ArrayFile, Spill
from training.refresh.items import NextItems


@dataclass(frozen=True)
class NextUsers:
    """Users of the next bundle, in memory-mapped files.

    Attributes:
        vectors: [V, D].
        seen: V × J interactions.
        weights: weights of the interactions.
        encoded: [E] users whose vectors were computed again.
        before: histories of the users with held-out events, without those events.
        relevant: keys of held-out events with items new to the user.
    """

    vectors: Floats
    seen: Csr
    weights: Floats
    encoded: Keys
    before: Interactions
    relevant: Keys


def next_users(
    bundle: Bundle, items: NextItems, spill: Spill, folder: Path, processes: int
) -> NextUsers:
    """Build the users of the next bundle.

    Users with an unchanged history keep their vector; the user encoder computes the others.

    Args:
        bundle: the live bundle.
        items: items of the next bundle.
        spill: new events; its folder gets the plan if several processes share it.
        folder: folder for blocks and finished arrays.
        processes: number of processes that encode; 1 for this one.

    Raises:
        WorkerError: one of several processes ended.
    """
    plan = EncodingPlan.of(bundle, items, spill)
    paths = {start: folder / f"users-{start:09d}.npz" for start in plan.starts}
    missing = {start: path for start, path in paths.items() if not path.exists()}
    with tqdm(total=plan.n_users, unit="user", desc="encoding", disable=None) as progress:
        for start in paths.keys() - missing.keys():
            progress.update(plan.n_in_block(start))
        for start in write_blocks(plan, missing, processes):
            progress.update(plan.n_in_block(start))
    return _assembled(list(paths.values()), folder, bundle.manifest.dim, len(items.ids))


def _assembled(paths: list[Path], folder: Path, dim: int, n_items: int) -> NextUsers:
    names = {name: folder / f"{name}.npy" for name in ("vectors", "indptr", "items", "weights")}
    small: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("encoded", "before", "before_weights", "relevant")
    }
    total = 0
    with (
        ArrayFile(names["vectors"], np.float32, dim) as vectors,
        ArrayFile(names["indptr"], np.int64) as indptr,
        ArrayFile(names["items"], np.int32) as items,
        ArrayFile(names["weights"], np.float32) as weights,
    ):
        indptr.add(np.zeros(1, np.int64))
        for path in paths:
            with np.load(path, allow_pickle=False) as block:
                vectors.add(block["vectors"])
                indptr.add(total + np.cumsum(block["lengths"]))
                items.add(block["items"])
                weights.add(block["weights"])
                total += len(block["items"])
                for name, arrays in small.items():
                    arrays.append(block[name])
    mapped = {n: np.load(p, mmap_mode="r", allow_pickle=False) for n, p in names.items()}
    one: dict[str, Any] = {
        n: np.concatenate(a) if a else np.empty(0, np.int64) for n, a in small.items()
    }
    return NextUsers(
        vectors=mapped["vectors"],
        seen=Csr(mapped["indptr"], mapped["items"], n_items),
        weights=mapped["weights"],
        encoded=one["encoded"],
        before=Interactions(one["before"], one["before_weights"]),
        relevant=one["relevant"],
    )
