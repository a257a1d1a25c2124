"""Blocks of users of the next bundle: histories, weights and vectors, encoded by processes.

Finished blocks are stored on disk, so that an interrupted run resumes with the next block; who has
encoded a block makes no difference. Interactions are ascending keys, user · J + item. Shapes: V
users and J items of the next bundle.
"""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.csr import Csr
from bundle.errors import DRepMRecError
from bundle.events.history import encode_histories
from bundle.sorted_sets import difference, is_member, last_of_each, unique
from bundle.types import Floats
from training.refresh.encoding.plan import EncodingPlan
from training.refresh.encoding.spill import events_of_block

Keys = NDArray[np.int64]


class WorkerError(DRepMRecError):
    """A process that encoded users has ended."""


class Interactions(NamedTuple):
    """Interactions as ascending keys, and their weights."""

    keys: Keys
    weights: Floats


def write_blocks(plan: EncodingPlan, paths: Mapping[int, Path], processes: int) -> Iterator[int]:
    """Encode blocks and write each into its file.

    Args:
        plan: inputs of the blocks.
        paths: of the files, by the first user of the block.
        processes: number of processes; 1 for this one.

    Yields:
        The first user of each finished block.

    Raises:
        WorkerError: one of several processes ended.
    """
    processes = min(processes, len(paths))
    if processes <= 1:
        for start, path in paths.items():
            _write(plan, start, path)
            yield start
        return
    plan.write()
    # Forked processes could not use ONNX Runtime.
    with ProcessPoolExecutor(processes, get_context("spawn"), _watch_parent) as pool:
        try:
            working = {
                pool.submit(_write_in_worker, plan.events, start, path): start
                for start, path in paths.items()
            }
            for done in as_completed(working):
                done.result()
                yield working[done]
        except BrokenProcessPool:
            raise WorkerError(
                "a process that encoded users has ended, perhaps for lack of memory; the next run "
                "continues, with fewer --processes if need be"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _watch_parent() -> None:
    """End this process with the one that started it, also if that was killed."""
    parent = parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    Thread(target=end, daemon=True).start()


_opened = cache(EncodingPlan.open)


def _write_in_worker(folder: Path, start: int, path: Path) -> None:
    _write(_opened(folder), start, path)


def _write(plan: EncodingPlan, start: int, path: Path) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        np.savez(file, allow_pickle=False, **encode_block(plan, start))
    new.replace(path)


def encode_block(plan: EncodingPlan, start: int) -> dict[str, NDArray[np.generic]]:
    """Arrays of the block that starts with user `start`; see `NextUsers`."""
    n, n_items = plan.n_in_block(start), len(plan.item_vectors)
    old = plan.kept[start : start + n]
    events = events_of_block(plan.events, start // plan.block_users)
    known = _of_bundle(plan, old)
    now = _with_events(known, events, start, n_items)
    vectors = np.zeros((n, plan.user_vectors.shape[1]), np.float32)
    vectors[: len(old)] = plan.user_vectors[old]

    differs = ~_contained(now, known) | plan.has_new_vector[now.keys % n_items]
    encoded = unique(now.keys[differs] // n_items)
    indptr = _indptr(now.keys, n, n_items)
    seen = Csr(indptr, (now.keys % n_items).astype(np.int32), n_items)
    places = _places(indptr, encoded)
    vectors[encoded] = encode_histories(
        plan.user_encoder,
        plan.item_vectors,
        np.concatenate([[0], np.cumsum(seen.lengths[encoded])]),
        seen.indices[places],
        now.weights[places],
    )

    is_out = is_member(events["number"], plan.held_out)
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


def _of_bundle(plan: EncodingPlan, old: NDArray[np.int64]) -> Interactions:
    """Interactions in the live bundle of its users `old`, the first of a block, with kept items."""
    indptr = plan.seen.indptr
    places = _places(indptr, old)
    users = np.repeat(np.arange(len(old)), indptr[old + 1] - indptr[old])
    rows = plan.row_of[plan.seen.indices[places]]
    stays = rows >= 0
    keys = users[stays].astype(np.int64) * len(plan.item_vectors) + rows[stays]
    return Interactions(keys, plan.seen_weights[places][stays])


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
