"""Exact search of a small catalogue: FAISS's flat index, and `bundle.exact`.

    python benchmarks/exact_search.py [--items 6710] [--dim 129]

CPU times of one thread in µs a query, the ways in turn; the smallest of the rounds. FAISS is given
both of its ways: one query after another, or a matrix product by BLAS.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import faiss
import numpy as np
from machine import describe
from serving import PACKAGES, say

from bundle.exact import ExactSearch

K, EXCLUDED = 20, 6
"""Results, and items that a query leaves out; FAISS is asked for so many more."""
ROUNDS, REPEATS = 15, 20


def cpu(work: Callable[[], object], queries: int) -> float:
    """Time of a query, µs."""
    begun = time.thread_time()
    for _ in range(REPEATS):
        work()
    return (time.thread_time() - begun) / REPEATS / queries * 1e6


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=6_710)
    parser.add_argument("--dim", type=int, default=129)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    items = rng.standard_normal((options.items, options.dim), np.float32)
    flat = faiss.IndexFlatIP(options.dim)
    flat.add(items)
    faiss.omp_set_num_threads(1)
    ours = ExactSearch(items)
    for queries in (1, 4, 16, 64):
        vectors = rng.standard_normal((queries, options.dim), np.float32)
        excluded = list(rng.integers(0, options.items, (queries, EXCLUDED)).astype(np.int32))

        def by_faiss(blas: bool, vectors: np.ndarray = vectors) -> object:
            faiss.cvar.distance_compute_blas_threshold = 1 if blas else 10_000
            return flat.search(vectors, K + EXCLUDED)

        ways: dict[str, Callable[[], object]] = {
            "FAISS, one by one": lambda: by_faiss(False),
            "FAISS, BLAS": lambda: by_faiss(True),
            "bundle.exact": partial(ours.search, vectors, K, excluded),
        }
        rounds = [{name: cpu(way, queries) for name, way in ways.items()} for _ in range(ROUNDS)]
        best = {name: min(each[name] for each in rounds) for name in ways}
        say(f"{queries:>3} queries: " + ", ".join(f"{name} {us:.0f}" for name, us in best.items()))
    say("\n".join(describe(PACKAGES)))


if __name__ == "__main__":
    main()
