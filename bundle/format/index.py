"""The FAISS index over item vectors: flat for small catalogues, inverted lists for large ones."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bundle.errors import BundleError
from bundle.format.manifest import IndexInfo
from bundle.format.unreadable import reading
from bundle.types import Floats, Mask, Rows

EXACT_BELOW = 50_000
"""Number of items from which on inverted lists are used. Up to here exact search takes 0.7 ms for a
query with 128 columns on one core (measured), which is all that a request should spend on it."""
RECALL_K = 20
"""Number of results per query when recall is measured: a page of recommendations."""
RECALL_TARGET = 0.99
"""Recall that decides how many inverted lists a query visits."""


def search_recall(index: Any, queries: Floats, vectors: Floats, k: int = RECALL_K) -> float:
    """Recall@k of the index against exact search. A result with an equal score counts as found.

    Args:
        index: a FAISS index over vectors.
        queries: [B, D].
        vectors: [I, D].
        k: number of results, at most I.
    """
    k = min(k, len(vectors))
    scores, _ = index.search(queries, k)
    exact, _ = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    # A tie at rank k has several correct answers; float32 sums differ in the last bits.
    kth = exact[:, -1:]
    return float((scores >= kth - 1e-5 * np.abs(kth)).mean())


def build_index(vectors: Floats, sample_queries: Floats, seed: int = 0) -> tuple[Any, IndexInfo]:
    """Build an index over item vectors [I, D] for inner products.

    With inverted lists, a query visits as many of them as it takes to reach RECALL_TARGET on
    sample_queries [B, D].

    Returns:
        The FAISS index and its description.
    """
    n_items, dim = vectors.shape
    if n_items < EXACT_BELOW:
        flat = faiss.IndexFlatIP(dim)
        flat.add(vectors)
        return flat, IndexInfo(kind="flat", nprobe=0, recall=1.0)
    n_lists = int(4 * np.sqrt(n_items))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, n_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    # FAISS's default, 25 rounds over 256 points per list, takes ten times as long and finds no
    # more: the number of visited lists is chosen by recall in any case.
    index.cp.niter, index.cp.max_points_per_centroid = 10, 64
    index.train(vectors)
    index.add(vectors)
    nprobe, recall = 4, 0.0
    while True:
        index.nprobe = nprobe
        recall = search_recall(index, sample_queries, vectors)
        if recall >= RECALL_TARGET or nprobe >= n_lists:
            return index, IndexInfo(kind="ivf", nprobe=nprobe, recall=recall)
        nprobe = min(2 * nprobe, n_lists)


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
    kind: Any = {"flat": faiss.IndexFlat, "ivf": faiss.IndexIVF}[info.kind]
    if not isinstance(index, kind) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BundleError(f"{path}: is not of the kind {info.kind!r} that the manifest says")
    if info.kind == "ivf" and info.nprobe < 1:
        raise BundleError(f"{path}: the manifest says that {info.nprobe} lists are visited")
    if (index.ntotal, index.d) != (n_items, dim):
        raise BundleError(
            f"{path}: has {index.ntotal} × {index.d} numbers, the manifest says {n_items} × {dim}"
        )
    if info.nprobe:
        index.nprobe = info.nprobe
    return index


def search_lists(
    index: Any,
    vector: Floats,
    k: int,
    nprobe: int,
    mask: Mask | None = None,
) -> tuple[Floats, Rows]:
    """Search a given number of inverted lists.

    Args:
        index: an index of kind `ivf`.
        vector: [D] query.
        k: number of results, at least 1.
        nprobe: number of lists to visit; more than there are means all.
        mask: [I], true for the rows that may be found; all by default.

    Returns:
        Scores and rows [k]; rows are -1 where the visited lists hold fewer.
    """
    options = faiss.SearchParametersIVF()
    options.nprobe = min(nprobe, index.nlist)
    if mask is not None:
        bits: Any = np.packbits(mask, bitorder="little")
        # The stubs lack the argument that SWIG adds to the constructor.
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg]
        options.sel = selector
    scores, rows = index.search(vector[None], k, params=options)
    return scores[0], rows[0].astype(np.int32)
