"""Exact search of a small catalogue: the bundle's model, NumPy, and FAISS's flat index.

    python -m benchmarks.serving.exact_search [--items 6710] [--dim 129]

CPU time of one thread in µs per query: the least of 15 rounds, in which the ways take turns. NumPy
is what a bundle without the model falls back to. FAISS is measured in both of its ways, one query
after another and as a matrix product by BLAS.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import faiss
import numpy as np

from benchmarks.environment import SERVING, argument_parser, describe
from bundle.format.scorer import EXACT_SEARCH, ITEM_VECTORS, ItemScorer, write_exact_search
from bundle.search.exact import ExactSearch

K, EXCLUDED = 20, 6
"""Results of a query, and items that it excludes; FAISS is asked for K + EXCLUDED results."""
ROUNDS, REPEATS = 15, 20


def cpu(work: Callable[[], object], queries: int) -> float:
    """CPU time of a query, µs.

    Args:
        work: searches for all queries at once.
        queries: their number.
    """
    begun = time.thread_time()
    for _ in range(REPEATS):
        work()
    return (time.thread_time() - begun) / REPEATS / queries * 1e6


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    parser.add_argument("--items", type=int, default=6_710, help="number of items [6710]")
    parser.add_argument("--dim", type=int, default=129, help="columns of the vectors [129]")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    items = rng.standard_normal((options.items, options.dim), np.float32)
    flat = faiss.IndexFlatIP(options.dim)
    flat.add(items)
    faiss.omp_set_num_threads(1)
    by_numpy = ExactSearch(items)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, ITEM_VECTORS), items)
        write_exact_search(Path(folder))
        by_model = ExactSearch(items, ItemScorer(Path(folder, EXACT_SEARCH)))
    for queries in (1, 4, 16, 64):
        vectors = rng.standard_normal((queries, options.dim), np.float32)
        excluded = list(rng.integers(0, options.items, (queries, EXCLUDED)).astype(np.int32))

        def by_faiss(blas: bool, vectors: np.ndarray = vectors) -> object:
            faiss.cvar.distance_compute_blas_threshold = 1 if blas else 10_000
            return flat.search(vectors, K + EXCLUDED)

        ways: dict[str, Callable[[], object]] = {
            "FAISS, one by one": lambda: by_faiss(False),
            "FAISS, BLAS": lambda: by_faiss(True),
            "NumPy": partial(by_numpy.search, vectors, K, excluded),
            "the bundle's model": partial(by_model.search, vectors, K, excluded),
        }
        rounds = [{name: cpu(way, queries) for name, way in ways.items()} for _ in range(ROUNDS)]
        best = {name: min(each[name] for each in rounds) for name in ways}
        print(
            f"{queries:>3} queries: " + ", ".join(f"{name} {us:.0f}" for name, us in best.items())
        )
    print(describe(SERVING))


if __name__ == "__main__":
    main()
