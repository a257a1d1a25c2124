"""Users of the next bundle, block by block: histories, weights and vectors.

Finished blocks are stored on disk, so that an interrupted run resumes with the next block.
Interactions are ascending keys, user · J + item. Shapes: V users and J items of the next bundle.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bundle.csr import Csr
from bundle.events.history import encode_histories
from bundle.format.reader import Bundle
from bundle.sorted_sets import difference, is_member, last_of_each, unique
from bundle.types import Floats
from training.refresh.items import NextItems
from training.refresh.user_blocks import BLOCK_USERS, ArrayFile, Spill

Keys = NDArray[np.int64]


class Interactions(NamedTuple):
    """Interactions as ascending keys, and their weights."""

    keys: Keys
    weights: Floats


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


def next_users(bundle: Bundle, items: NextItems, spill: Spill, folder: Path) -> NextUsers:
    """Build the users of the next bundle.

    Users with an unchanged history keep their vector; the user encoder computes the others.

    Args:
        bundle: the live bundle.
        items: items of the next bundle.
        spill: new events.
        folder: folder for blocks and finished arrays.
    """
    starts = range(0, spill.n_users, BLOCK_USERS)
    paths = [folder / f"users-{start:09d}.npz" for start in starts]
    with tqdm(total=spill.n_users, unit="user", desc="encoding", disable=None) as progress:
        for start, path in zip(starts, paths, strict=True):
            if not path.exists():
                new = path.with_suffix(".new")
                with new.open("wb") as file:
                    np.savez(file, allow_pickle=False, **_block(bundle, items, spill, start))
                new.replace(path)
            progress.update(min(BLOCK_USERS, spill.n_users - start))
    return _assembled(paths, folder, bundle.manifest.dim, len(items.ids))


def _block(
    bundle: Bundle, items: NextItems, spill: Spill, start: int
) -> dict[str, NDArray[np.generic]]:
    """Arrays of the block that starts with user `start`."""
    n, n_items = min(BLOCK_USERS, spill.n_users - start), len(items.ids)
    old = spill.kept[start : start + n]
    events = spill.block(start)
    known = _of_bundle(bundle, items, old)
    now = _with_events(known, events, start, n_items)
    vectors = np.zeros((n, bundle.manifest.dim), np.float32)
    vectors[: len(old)] = bundle.user_vectors[old]

    differs = ~_contained(now, known) | items.has_new_vector[now.keys % n_items]
    encoded = unique(now.keys[differs] // n_items)
    indptr = _indptr(now.keys, n, n_items)
    seen = Csr(indptr, (now.keys % n_items).astype(np.int32), n_items)
    places = _places(indptr, encoded)
    vectors[encoded] = encode_histories(
        bundle.user_encoder,
        items.vectors,
        np.concatenate([[0], np.cumsum(seen.lengths[encoded])]),
        seen.indices[places],
        now.weights[places],
    )

    is_out = is_member(events["number"], spill.held_out)
    before = _with_events(known, events[~is_out], start, n_items)
    relevant = unique(_keys(events[is_out], start, n_items))
    relevant = difference(relevant, before.keys)
    liked = unique(before.keys[before.weights > 0] // n_items)
    relevant = relevant[is_member(relevant // n_items, liked)]
    asked = is_member(before.keys // n_items, relevant // n_items)
    shift = start * n_items
    return {
        "vectors": vectors,
        "lengths": seen.lengths,
        "items": seen.indices,
        "weights": now.weights,
        "encoded": encoded + start,
        "before": before.keys[asked] + shift,
        "before_weights": before.weights[asked],
        "relevant": relevant + shift,
    }


def _of_bundle(bundle: Bundle, items: NextItems, old: NDArray[np.int64]) -> Interactions:
    """Interactions in the live bundle of its users `old`, the first of a block, with kept items."""
    indptr = bundle.seen.indptr
    places = _places(indptr, old)
    users = np.repeat(np.arange(len(old)), indptr[old + 1] - indptr[old])
    rows = items.row_of[bundle.seen.indices[places]]
    stays = rows >= 0
    keys = users[stays].astype(np.int64) * len(items.ids) + rows[stays]
    return Interactions(keys, bundle.seen_weights[places][stays])


def _with_events(
    known: Interactions, events: NDArray[Any], start: int, n_items: int
) -> Interactions:
    """`bundle.events.history.weigh` for a block: the last event per user and item counts."""
    keys = np.concatenate([known.keys, _keys(events, start, n_items)])
    weights = np.concatenate([known.weights, events["weight"]])
    last = last_of_each(keys)
    return Interactions(keys[last], weights[last])


def _keys(events: NDArray[Any], start: int, n_items: int) -> Keys:
    keys: Keys = (events["user"].astype(np.int64) - start) * n_items + events["item"]
    return keys


def _contained(some: Interactions, others: Interactions) -> NDArray[np.bool_]:
    """Membership of some interactions in others, with the same weight."""
    if not len(others.keys):
        return np.zeros(len(some.keys), np.bool_)
    place = np.minimum(np.searchsorted(others.keys, some.keys), len(others.keys) - 1)
    same: NDArray[np.bool_] = others.keys[place] == some.keys
    same &= others.weights[place] == some.weights
    return same


def _indptr(keys: Keys, n: int, n_items: int) -> NDArray[np.int64]:
    counts = np.bincount(keys // n_items, minlength=n)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _places(indptr: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the entries of some CSR rows, one row after the other."""
    lengths = indptr[rows + 1] - indptr[rows]
    starts = np.cumsum(lengths) - lengths
    places: NDArray[np.int64] = np.repeat(indptr[rows] - starts, lengths)
    places += np.arange(lengths.sum())
    return places


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
