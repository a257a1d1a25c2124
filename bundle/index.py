"""The FAISS index: inner product, exact for small catalogues, inverted lists for large ones."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bundle.errors import BundleError
from bundle.manifest import IndexInfo

EXACT_BELOW = 50_000
"""Items below which exact search is taken: at this size it costs 0.7 ms for a query of 128
columns on one core (measured), as much as a request may spend on searching."""
RECALL_K = 20
RECALL_TARGET = 0.99


def search_recall(
    index: Any, queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int = RECALL_K
) -> float:
    """Share of the exact top k that the index finds; a result with an equal score counts.

    Args:
        index: a FAISS index over vectors.
        queries: [B, D].
        vectors: [I, D].
        k: how many results, cut at I.
    """
    k = min(k, len(vectors))
    scores, _ = index.search(queries, k)
    exact, _ = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    # A tie at the k-th place has several right answers; float32 sums differ in the last bits.
    kth = exact[:, -1:]
    return float((scores >= kth - 1e-5 * np.abs(kth)).mean())


def build_index(
    vectors: NDArray[np.float32], sample_queries: NDArray[np.float32], seed: int = 0
) -> tuple[Any, IndexInfo]:
    """Index item vectors [I, D] for inner product.

    A large catalogue gets inverted lists; as many of them are visited as it takes to reach
    RECALL_TARGET on sample_queries [B, D].

    Returns:
        The FAISS index and how it was built.
    """
    n_items, dim = vectors.shape
    if n_items < EXACT_BELOW:
        flat = faiss.IndexFlatIP(dim)
        flat.add(vectors)
        return flat, IndexInfo(kind="flat", nprobe=0, recall=1.0)
    n_lists = int(4 * np.sqrt(n_items))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, n_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = seed
    # FAISS's own 25 rounds over 256 points for each list take ten times as long and find no more:
    # how many lists are visited is chosen by recall in any case.
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
    """Read a FAISS index and check that it fits.

    Raises:
        BundleError: it cannot be read, or its size or width is not the bundle's.
    """
    try:
        # Mapped as the vectors are: workers share it, and opening it reads nothing.
        index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise BundleError(f"{path}: FAISS cannot read it ({error})") from error
    if (index.ntotal, index.d) != (n_items, dim):
        raise BundleError(
            f"{path}: holds {index.ntotal} × {index.d}, the bundle says {n_items} × {dim}"
        )
    if info.nprobe:
        index.nprobe = info.nprobe
    return index


def search_lists(
    index: Any,
    vector: NDArray[np.float32],
    k: int,
    nprobe: int,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Search so many inverted lists, for some rows only if there is a mask.

    Args:
        index: of kind `ivf`.
        vector: [D] query.
        k: results, at least 1.
        nprobe: lists that are visited, at most as many as there are.
        mask: [I], true for the rows that may be found.

    Returns:
        Scores and rows [k], -1 where the visited lists hold fewer.
    """
    options = faiss.SearchParametersIVF()
    options.nprobe = min(nprobe, index.nlist)
    if mask is not None:
        bits: Any = np.packbits(mask, bitorder="little")
        # What SWIG adds to the constructor is not in the stubs.
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg]
        options.sel = selector
    scores, rows = index.search(vector[None], k, params=options)
    return scores[0], rows[0].astype(np.int32)
