"""Nearest neighbours of all items or users: exact ones, or by FAISS where they are too many."""

import sys
import time
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from models.graphs import nearest_neighbours
from training.fitting.distributed import is_first

EXACT_UP_TO = 100_000
"""Number of rows up to which neighbours are exact on a CPU. The time grows by the square: 100,000
rows × 256 columns take about a minute on two threads, a million take two hours."""
RECALL_GOAL = 0.95
"""Share of the exact neighbours to find. The graph gives all neighbours the same weight and the
model averages over them, so that a missing tenth neighbour hardly matters."""
SAMPLE = 1_000
"""Number of rows whose exact neighbours decide how many lists are searched; with 10 neighbours
each, the standard error of a recall of 0.95 is below 0.004."""
MOST_VISITED = 32_768
"""Maximum number of rows that a row is compared with, on average. It keeps the time proportional to
the number of rows where features have no clusters: 35 minutes of CPU for a million × 256."""
DEARER = 8
"""Comparisons by a matrix product that take as long as one in a list, at least (measured: 8 to 12).
Where comparing all rows is no dearer than the lists that reach the goal, it is done instead."""
POINTS_OF_A_LIST, ROUNDS = 64, 10
"""Training of the lists: rows for each, and rounds of k-means; more find nothing more, since the
number of lists searched is chosen by recall."""
BLOCK = 4_096
"""Rows per step, which bounds temporary memory to about 16 MiB."""
EXACT_BLOCK = 256
"""Rows per step that are compared with all others: at most 256 MiB of cosines."""


class Approximation(NamedTuple):
    """Approximate nearest neighbours.

    Attributes:
        neighbours: [I, k] int64, -1 for none.
        cosines: [I, k], exact ones of the neighbours found; 0 for none.
        recall: share of the exact neighbours of a sample that were found.
        lists, searched: number of inverted lists, and how many each row searched; 0 if the
            neighbours are exact.
    """

    neighbours: Tensor
    cosines: Tensor
    recall: float
    lists: int
    searched: int


def find_neighbours(
    features: Tensor, present: Tensor, k: int, device: torch.device, name: str
) -> tuple[Tensor, Tensor]:
    """The k nearest neighbours by cosine, each row itself excluded.

    They are exact up to EXACT_UP_TO present rows and on a GPU; else a line on stderr states the
    recall.

    Args:
        features: [I, F] on the CPU.
        present: [I] bool; absent rows neither have neighbours nor are neighbours.
        k: neighbours per row.
        device: where exact neighbours are computed.
        name: what the rows are, for the line on stderr.

    Returns:
        Neighbours [I, k] int64 and cosines [I, k], see `edges`.
    """
    n_present = int(present.sum())
    if device.type == "cuda" or n_present <= EXACT_UP_TO:
        return nearest_neighbours(features.to(device), present.to(device), k)
    started = time.perf_counter()
    found = approximate_neighbours(features, present, k)
    if is_first():
        how = "from all rows, as fast as lists would be"
        if found.lists:
            how = f"from {found.searched} of {found.lists} lists"
        short = "" if found.recall >= RECALL_GOAL else f", below the goal of {RECALL_GOAL}"
        tqdm.write(
            f"{name}: {k} nearest neighbours of {n_present} rows {how}, "
            f"recall {found.recall:.3f}{short}, {time.perf_counter() - started:.0f} s",
            file=sys.stderr,
        )
    return found.neighbours, found.cosines


@torch.no_grad()
def approximate_neighbours(features: Tensor, present: Tensor, k: int) -> Approximation:
    """Approximate k nearest neighbours by cosine, from inverted lists of half-precision vectors.

    Each row searches the list nearest to it, or the 2, 4, … nearest ones: as many as find
    RECALL_GOAL of a sample's neighbours, unless rows are then compared with more than MOST_VISITED
    others, or with all of them in less time. The result depends on the data alone. Temporary memory
    is below that of the features; where all are compared, 256 MiB and twice the features.

    Args:
        features: [I, F] float32 on the CPU; zero rows have no neighbours.
        present: [I] bool; absent rows neither have neighbours nor are neighbours.
        k: neighbours per row, at most the number of other present rows.
    """
    k = max(min(k, int(present.sum()) - 1), 0)
    neighbours = torch.full((len(features), k), -1, dtype=torch.int64)
    cosines = torch.zeros(len(features), k)
    rows = torch.nonzero(present & (torch.linalg.vector_norm(features, dim=1) > 0)).squeeze(1)
    if not k or not len(rows):
        return Approximation(neighbours, cosines, 1.0, 0, 0)
    distinct, copies, originals = _without_copies(features, rows, k)
    neighbours[copies], cosines[copies] = originals, 1.0
    faiss.omp_set_num_threads(torch.get_num_threads())
    lists = _Lists(features, distinct)
    recall = lists.tune(k)
    if recall < RECALL_GOAL and len(distinct) <= DEARER * MOST_VISITED:
        return Approximation(*nearest_neighbours(features, present, k, EXACT_BLOCK), 1.0, 0, 0)
    for block in torch.split(lists.in_order(), BLOCK):
        neighbours[distinct[block]], cosines[distinct[block]] = lists.search(block, k)
    return Approximation(neighbours, cosines, recall, lists.index.nlist, lists.index.nprobe)


def _without_copies(features: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows without copies beyond the first k + 1 of equal ones, which would fill a single list.

    A catalogue may have one placeholder for all missing pictures; its copies would all be compared
    with each other.

    Args:
        features: [I, F].
        rows: [n] those to look at.
        k: neighbours of a row.

    Returns:
        The rows to search; the other rows [m]; and the k neighbours [m, k] of these, equal to them.
    """
    vectors = features.numpy()
    keys = np.fromiter((hash(vectors[row].tobytes()) for row in rows.tolist()), np.int64, len(rows))
    order = np.argsort(keys, kind="stable")
    differs = np.append(True, keys[order[1:]] != keys[order[:-1]])
    starts = np.flatnonzero(differs)[np.cumsum(differs) - 1]  # place of each one's first copy
    surplus = np.arange(len(order)) - starts > k
    originals = order[starts[surplus, None] + np.arange(k)]
    kept = torch.from_numpy(np.sort(order[~surplus]))
    return rows[kept], rows[torch.from_numpy(order[surplus])], rows[torch.from_numpy(originals)]


class _Lists:
    """Inverted lists of unit vectors in half precision.

    Args:
        features: [I, F].
        rows: [n] rows that the lists contain, none of them zero; here they are numbered from 0.
    """

    def __init__(self, features: Tensor, rows: Tensor) -> None:
        self._features, self._rows = features, rows
        self._shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        width, n_lists = features.shape[1], min(int(4 * len(rows) ** 0.5), len(rows))
        index: Any = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width),
            width,
            n_lists,
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
            False,  # the vectors themselves, not their differences from the list's centre
        )
        index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, POINTS_OF_A_LIST
        index.cp.min_points_per_centroid = 1
        index.train(self._unit(self._shuffled[: POINTS_OF_A_LIST * n_lists]).numpy())
        for block in torch.split(torch.arange(len(rows)), BLOCK):
            index.add(self._unit(block).numpy())
        self.index = index

    def tune(self, k: int) -> float:
        """Choose how many lists are searched, and return the recall of a sample."""
        n, index = len(self._rows), self.index
        sample = self._shuffled[:SAMPLE]
        queries, best = self._unit(sample), torch.empty(len(sample), 0)
        for block in torch.split(torch.arange(n), BLOCK):
            best = torch.cat([best, queries @ self._unit(block).T], 1)
            best = best.topk(min(k + 1, best.shape[1]), dim=1).values
        # The best is the row itself. Equal cosines are as good; float32 sums differ in the last
        # bits.
        kth = best[:, -1:] - 1e-5
        most = min(MOST_VISITED, n // DEARER) * index.nlist // n
        index.nprobe = 1
        while True:
            found, cosines = self.search(sample, k)
            hits = int(((found >= 0) & (cosines >= kth)).sum())
            recall = hits / (len(sample) * max(min(k, n - 1), 1))
            if recall >= RECALL_GOAL or 2 * index.nprobe > most:
                return recall
            index.nprobe *= 2

    def in_order(self) -> Tensor:
        """Numbers [n] list by list, so that consecutive searches read the same lists."""
        lists = self.index.invlists
        sizes = [lists.list_size(number) for number in range(self.index.nlist)]
        members = [
            faiss.rev_swig_ptr(lists.get_ids(number), size)
            for number, size in enumerate(sizes)
            if size
        ]
        return torch.from_numpy(np.concatenate(members))

    def search(self, numbers: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Nearest rows [b, k], -1 for none, and cosines [b, k] of some of the rows [b]."""
        queries = self._unit(numbers)
        found = torch.from_numpy(self.index.search(queries.numpy(), k + 1)[1])
        own = found == numbers[:, None]
        own[~own.any(1), -1] = True  # among equal rows it may not be found itself
        found = found[~own].view(-1, k)
        cosines = [(queries * self._unit(column)).sum(1) for column in found.T]
        is_none = found < 0
        return (
            self._rows[found].masked_fill(is_none, -1),
            torch.stack(cosines, 1).masked_fill(is_none, 0),
        )

    def _unit(self, numbers: Tensor) -> Tensor:
        return F.normalize(self._features[self._rows[numbers]], dim=1)
