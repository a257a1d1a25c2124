"""Ways to find the best of the items that a filter allows, by how many it allows.

    python benchmarks/filters.py --store STORE [--users 50]

STORE is the large one of `benchmarks/large_catalogue.py`. A filter allows items at random, or those
nearest to a random direction, which for most users is far from what they like. Printed are CPU
times in ms and recall@20 of: one by one; more results of the index, filtered afterwards (how often
too few are left behind it); the index among allowed items, with its own number of lists and with
what `bundle/among.py` says; and what the service does.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from machine import describe
from numpy.typing import NDArray
from serving import PACKAGES, say

from bundle.among import FAR, search_index
from bundle.index import search_lists
from bundle.recommender import Recommender
from bundle.store import BundleStore
from bundle.topk import TopK, best_of

K = 20
SHARES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 0.9)
NOTHING = np.empty(0, np.int32)
Search = Callable[[NDArray[np.float32]], TopK]


def ways(recommender: Recommender, allowed: NDArray[np.int32]) -> dict[str, Search]:
    """The ways by name; each takes a query [D]."""
    index, info = recommender.bundle.index, recommender.bundle.manifest.index
    mask = np.zeros(index.ntotal, np.bool_)
    mask[allowed] = True

    def first(vector: NDArray[np.float32]) -> TopK:
        scores, rows = next(search_index(index, info, vector, K, allowed))
        return best_of(rows, scores, K)

    def more_lists(vector: NDArray[np.float32]) -> TopK:
        lists = int(FAR * info.nprobe * index.ntotal / len(allowed))
        scores, rows = search_lists(index, vector, K, lists, mask)
        return best_of(rows, scores, K)

    def own_lists(vector: NDArray[np.float32]) -> TopK:
        scores, rows = search_lists(index, vector, K, info.nprobe, mask)
        return best_of(rows, scores, K)

    return {
        "one by one": lambda vector: recommender.exact(vector, K, allowed),
        "filtered": first,
        "selected": own_lists,
        "more lists": more_lists,
        "service": lambda vector: recommender.search_among(vector, K, NOTHING, allowed),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True, help="with an index of inverted lists")
    parser.add_argument("--users", type=int, default=50, help="queries of each measurement [50]")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    bundle = BundleStore(options.store).load()
    recommender = Recommender(bundle)
    rng = np.random.default_rng(0)
    n_items = len(bundle.items)
    direction = rng.standard_normal(bundle.manifest.dim, np.float32)
    orders = {
        "at random": rng.permutation(n_items),
        "far away": np.argsort(-(np.asarray(bundle.item_vectors) @ direction)),
    }
    vectors = np.array(bundle.user_vectors[rng.integers(len(bundle.users), size=options.users)])
    for kind, order in orders.items():
        for share in SHARES:
            allowed = np.sort(order[: int(share * n_items)]).astype(np.int32)
            exact: list[TopK] = []
            cells = []
            for name, search in ways(recommender, allowed).items():
                begun = time.process_time()
                tops = [search(vector) for vector in vectors]
                ms = (time.process_time() - begun) / len(tops) * 1e3
                exact = exact or tops
                recall = np.mean(
                    [
                        (top.scores >= best.scores[-1] - 1e-5).sum() / K
                        for top, best in zip(tops, exact, strict=True)
                    ]
                )
                few = sum(len(top.item_idx) < K for top in tops) / len(tops)
                cells.append(
                    f"{name} {ms:.1f} ms {recall:.3f}" + (f" ({few:.0%} few)" if few else "")
                )
            say(f"{kind} {share:4.0%}: " + "; ".join(cells))
    say("\n".join(describe(PACKAGES)))


if __name__ == "__main__":
    main()
