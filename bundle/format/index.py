"""The FAISS indexes of a bundle: their kind by size and memory, how they are built and opened.

| kind | for | bytes of an item with D columns |
|---|---|---|
| `flat` | fewer than EXACT_BELOW items | 4 D |
| `ivf` | more, as long as both indexes fit into the budget | 4 D + 8 |
| `ivf_sq8` | more than these | D + 8 |
| `ivf_pq` | still more | D / 4 + 8 |

With inverted lists, a second index holds the vectors at length 1, by which similar items are found;
it has codes in any case. Results of codes are compared again by their vectors.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from bundle.errors import BundleError
from bundle.format.lists import (
    COMPARED,
    RECALL_TARGET,
    InvertedLists,
    ItemVectors,
    search_faiss,
)
from bundle.format.manifest import IndexInfo, IndexKind
from bundle.format.reach import (
    MOST_DISPLACED,
    RANKS,
    Reach,
    measure_displacement,
    measure_reach,
)
from bundle.format.recall import RECALL_K, search_recall
from bundle.format.unreadable import reading
from bundle.types import Floats, Rows

EXACT_BELOW = 50_000
"""Number of items from which on inverted lists are used. Up to here exact search takes 0.7 ms for a
query with 128 columns on one core (measured), which is all that a request should spend on it."""
BUDGET = 4 * 1024**3
"""Default for the size of both indexes, in bytes: vectors of 6 million items with 128 columns, or
codes of a byte for each number of 15 million, beside 4 or 8 GB of vectors."""
CODED_COLUMNS = 4
"""Columns that a byte stands for with product quantisation."""
TRAINED = 64
"""Vectors per list from which the lists are learned; FAISS's default of 256, and its 25 rounds in
place of ROUNDS, take ten times as long and find no more: lists are visited until recall is met."""
ROUNDS = 10
FEWEST_LISTS = 4
"""Least number of lists that a query visits: fewer hardly save time, and users differ."""
ITEMS = 200
"""Items whose similar ones decide how the second index is searched."""


KINDS: dict[IndexKind, Any] = {
    "flat": faiss.IndexFlat,
    "ivf": faiss.IndexIVFFlat,
    "ivf_sq8": faiss.IndexIVFScalarQuantizer,
    "ivf_pq": faiss.IndexIVFPQ,
}
"""FAISS's classes."""


class Sample(NamedTuple):
    """Queries by which the number of visited lists is chosen.

    Attributes:
        queries: [B, D].
        excluded: for each query the rows that it does not want.
    """

    queries: Floats
    excluded: Sequence[Rows]


class Built(NamedTuple):
    """An index, and that of similar items where there are inverted lists."""

    index: Any
    similar: Any
    info: IndexInfo


def choose_kind(n_items: int, dim: int, budget: int) -> IndexKind:
    """The most exact kind of index of which both fit into a budget, or the smallest if none does.

    Args:
        n_items, dim: I and D.
        budget: bytes.
    """
    if n_items < EXACT_BELOW:
        return "flat"
    coded = dim + 8
    if n_items * (4 * dim + 8 + coded) <= budget:
        return "ivf"
    return "ivf_sq8" if n_items * 2 * coded <= budget else "ivf_pq"


def build_indexes(vectors: Floats, columns: int, sample: Sample, budget: int = BUDGET) -> Built:
    """Build the indexes of item vectors [I, D].

    Args:
        vectors: [I, D].
        columns: number of leading columns by which items are compared with each other.
        sample: users' vectors and what they have seen.
        budget: bytes that both may have.
    """
    n_items, dim = vectors.shape
    kind = choose_kind(n_items, dim, budget)
    kept = None if budget == BUDGET else budget
    if kind == "flat":
        flat = faiss.IndexFlatIP(dim)
        flat.add(vectors)
        return Built(flat, None, IndexInfo(kind="flat", nprobe=0, recall=1.0, budget=kept))
    unit = ItemVectors(vectors, columns, unit=True)
    items = np.random.default_rng(0).permutation(n_items)[:ITEMS].astype(np.int32)
    themselves = [item[None] for item in items]
    if not len(sample.queries):
        sample = Sample(np.asarray(vectors[items]), themselves)
    main = _build(kind, ItemVectors(vectors, dim), sample)
    codes: IndexKind = "ivf_pq" if kind == "ivf_pq" else "ivf_sq8"
    similar = _build(codes, unit, Sample(unit[items], themselves), _centres(main.index))
    info = main.info.model_copy(update={"similar": similar.info, "budget": kept})
    return Built(main.index, similar.index, info)


def _centres(index: Any) -> Floats:
    """Centres [L, D] of the lists."""
    return np.asarray(index.quantizer.reconstruct_n(0, index.nlist), np.float32)


def _build(
    kind: IndexKind, vectors: ItemVectors, sample: Sample, centres: Floats | None = None
) -> InvertedLists:
    """Build inverted lists, and find out how they have to be searched.

    Args:
        kind: other than `flat`.
        vectors: of the items.
        sample: queries.
        centres: [L, ≥D] of lists that are used again; learned if None.
    """
    index = _empty(kind, len(vectors), vectors.columns)
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(len(vectors))[: TRAINED * index.nlist].astype(np.int32))
    if centres is not None:
        index.quantizer.add(_padded(ItemVectors(centres, vectors.columns, unit=True)[:], index.d))
    index.train(_padded(vectors[some], index.d))
    for start in range(0, len(vectors), COMPARED):
        index.add(_padded(vectors[slice(start, start + COMPARED)], index.d))
    depth = min(RANKS[-1], len(vectors))
    best = _best(vectors, sample.queries, depth)
    reach = measure_reach(_places(index, sample.queries, best), index.nlist)
    displaced = []
    if kind != "ivf":
        displaced = measure_displacement(_code_ranks(index, sample.queries, best))
    fewest = Reach(reach, index.nlist, RECALL_TARGET).lists(0, RECALL_K)
    index.nprobe = min(max(FEWEST_LISTS, fewest), index.nlist)
    info = IndexInfo(kind=kind, nprobe=index.nprobe, recall=0.0, reach=reach, displaced=displaced)
    found = search_recall(InvertedLists(index, info, vectors), sample.queries, sample.excluded)
    info = info.model_copy(update={"recall": float(found.mean())})
    return InvertedLists(index, info, vectors)


def _empty(kind: IndexKind, n_items: int, dim: int) -> Any:
    n_lists = int(4 * np.sqrt(n_items))
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "ivf_pq":
        dim += -dim % CODED_COLUMNS
    quantizer = faiss.IndexFlatIP(dim)
    index: Any
    if kind == "ivf":
        index = faiss.IndexIVFFlat(quantizer, dim, n_lists, metric)
    elif kind == "ivf_sq8":
        codes = faiss.ScalarQuantizer.QT_8bit
        index = faiss.IndexIVFScalarQuantizer(quantizer, dim, n_lists, codes, metric)
    else:
        index = faiss.IndexIVFPQ(quantizer, dim, n_lists, dim // CODED_COLUMNS, 8, metric)
        index.pq.cp.niter = ROUNDS
    index.cp.seed = 0
    index.cp.niter, index.cp.max_points_per_centroid = ROUNDS, TRAINED
    return index


def _padded(vectors: Floats, dim: int) -> Floats:
    """Vectors [n, dim] with zeros behind their columns."""
    missing = dim - vectors.shape[1]
    return np.pad(vectors, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(vectors)


def _best(vectors: ItemVectors, queries: Floats, k: int) -> Rows:
    """Rows [B, k] of the largest products, exactly."""
    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start in range(0, len(vectors), COMPARED):
        block = np.ascontiguousarray(vectors[slice(start, start + COMPARED)])
        scores, rows = faiss.knn(
            queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        heap.add_result(scores, rows + start)
    heap.finalize()
    return np.asarray(heap.I, np.int32)


def _places(index: Any, queries: Floats, best: Rows) -> Rows:
    """Numbers of lists [B, N] that a query visits to find each of its best items [B, N]."""
    list_of = np.empty(index.ntotal, np.int32)
    for number in range(index.nlist):
        size = index.invlists.list_size(number)
        if size:
            list_of[faiss.rev_swig_ptr(index.invlists.get_ids(number), size)] = number
    _, nearest = index.quantizer.search(_padded(queries, index.d), index.nlist)
    place = np.empty(index.nlist, np.int32)
    places = np.empty_like(best)
    for n, order in enumerate(nearest):
        place[order] = np.arange(1, index.nlist + 1)
        places[n] = place[list_of[best[n]]]
    return places


def _code_ranks(index: Any, queries: Floats, best: Rows) -> Rows:
    """Ranks [B, N] that the codes give to the best items [B, N], or one behind all that are found.

    As many results of the codes are searched as `measure_displacement` can need.
    """
    k = min(index.ntotal, best.shape[1] + MOST_DISPLACED)
    _, coded = search_faiss(index, queries, k, index.nlist)
    rank_of = np.full(index.ntotal, k + 1, np.int32)
    ranks = np.empty_like(best)
    for n, rows in enumerate(coded):
        rank_of[rows] = np.arange(1, k + 1)
        ranks[n] = rank_of[best[n]]
        rank_of[rows] = k + 1
    return ranks


def save_index(index: Any, path: Path) -> None:
    """Write a FAISS index.

    Raises:
        OSError: it cannot be written.
    """
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(f"{path}: FAISS cannot write it ({error})") from error


def load_index(path: Path, info: IndexInfo, n_items: int, dim: int) -> Any:
    """Read a FAISS index and compare its size with the bundle's.

    Raises:
        BundleError: it cannot be read, or has another kind or number of items or columns.
    """
    with reading(path, "FAISS cannot read it"):
        # Memory-mapped like the vectors: workers share it, and opening it reads nothing.
        index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if not isinstance(index, KINDS[info.kind]) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BundleError(f"{path}: is not of the kind {info.kind!r} that the manifest says")
    if info.kind != "flat" and info.nprobe < 1:
        raise BundleError(f"{path}: the manifest says that {info.nprobe} lists are visited")
    padding = -dim % CODED_COLUMNS if info.kind == "ivf_pq" else 0
    if (index.ntotal, index.d) != (n_items, dim + padding):
        raise BundleError(
            f"{path}: has {index.ntotal} × {index.d} numbers, the manifest says {n_items} × {dim}"
        )
    if info.nprobe:
        index.nprobe = info.nprobe
    return index
