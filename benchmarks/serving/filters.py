"""Ways to find the best of the items that a filter allows, by the number of allowed items.

    python -m benchmarks.serving.filters --store STORE [--users 50]

STORE has a large bundle, e.g. that of `benchmarks/serving/large_catalogue.py`. A filter allows
items at random, or the items nearest to a random direction, which is far from what most users like.
Printed are CPU times in ms and recall@20 of five ways: one by one; more results of the index,
filtered afterwards, with the share of queries for which too few are left; the index restricted to
allowed items, with its own number of lists, and with the number that `bundle/search/filtered.py`
chooses; and what the service does.
"""

import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import SERVING, argument_parser, describe
from bundle.format.lists import within
from bundle.search.list_search import FAR, ListSearch
from bundle.search.recommender import Recommender
from bundle.search.topk import TopK
from bundle.store.store import BundleStore

K = 20
SHARES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 0.9)
NO_ITEMS = np.empty(0, np.int32)
Search = Callable[[NDArray[np.float32]], TopK]


def ways(recommender: Recommender, allowed: NDArray[np.int32]) -> dict[str, Search]:
    """Ways to search among allowed items, by name; each takes a query [D].

    Args:
        recommender: of a bundle with an index of inverted lists.
        allowed: ascending item_idx of the allowed items.
    """
    lists = recommender.bundle.lists
    assert lists is not None
    mask = np.zeros(len(lists.vectors), np.bool_)
    mask[allowed] = True
    search = ListSearch(lists)

    def first(vector: NDArray[np.float32]) -> TopK:
        return search.dropping(vector, K, NO_ITEMS, allowed) or TopK(NO_ITEMS, vector[:0])

    def more_lists(vector: NDArray[np.float32]) -> TopK:
        visited = int(FAR * lists.info.nprobe * len(mask) / len(allowed))
        return TopK(*lists.among(vector, K, visited, lists.displaced(K), within(mask)))

    def own_lists(vector: NDArray[np.float32]) -> TopK:
        visited = lists.info.nprobe
        return TopK(*lists.among(vector, K, visited, lists.displaced(K), within(mask)))

    return {
        "one by one": lambda vector: recommender.exact(vector, K, allowed),
        "filtered": first,
        "selected": own_lists,
        "more lists": more_lists,
        "service": lambda vector: recommender.search_filtered(vector, K, NO_ITEMS, allowed),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--store",
        type=Path,
        required=True,
        help="store of a bundle with an index of inverted lists",
    )
    parser.add_argument(
        "--users", type=int, default=50, help="number of queries in each measurement [50]"
    )
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
            print(f"{kind} {share:4.0%}: " + "; ".join(cells))
    print(describe(SERVING))


if __name__ == "__main__":
    main()
