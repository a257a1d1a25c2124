"""Recall and time of a large catalogue's searches, by the number of items that a user has seen.

    python -m benchmarks.serving.exclusions [--items 200000] [--index-memory GIB]

A synthetic bundle of clustered items is built, or the live one of --store is opened. Its users have
seen the best items that there are for them, which is the worst case: whatever is left lies behind
these, where no cluster is near. Printed are recall@20 against exact search and the CPU time of a
search, alone and in a batch of 16; the same for users who have seen items at random; similar items;
and what ids take.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np

from benchmarks.environment import SERVING, argument_parser, describe
from benchmarks.synthetic_bundles import clustered_bundle
from bundle.format.index import BUDGET
from bundle.format.lists import ItemVectors
from bundle.format.reader import Bundle
from bundle.format.recall import exact_bounds
from bundle.search.recommender import Recommender
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS, Floats, Rows

K, BATCH = 20, 16
SEEN = (0, 5, 20, 50, 100, 200, 400, 600, 1_000, 2_000, 5_000, 20_000)


def best_items(bundle: Bundle, vectors: Floats) -> list[Rows]:
    """The items of each user [B, D] that score best, the best first, as many as SEEN ends with."""
    most = min(SEEN[-1], len(bundle.items) - K)
    found = []
    for vector in vectors:
        scores = np.asarray(bundle.item_vectors) @ vector
        rows = np.argpartition(-scores, most)[:most]
        found.append(rows[np.argsort(-scores[rows])].astype(np.int32))
    return found


def measure(recommender: Recommender, vectors: Floats, excluded: Sequence[Rows]) -> str:
    """Recall@K and CPU time in ms of searches for users [B, D] without some items each."""
    begun = time.process_time()
    tops = [recommender.search(vectors[n : n + 1], K, [rows])[0] for n, rows in enumerate(excluded)]
    alone = (time.process_time() - begun) / len(tops) * 1e3
    begun = time.process_time()
    for n in range(0, len(vectors), BATCH):
        recommender.search(vectors[n : n + BATCH], K, excluded[n : n + BATCH])
    together = (time.process_time() - begun) / len(tops) * 1e3
    items = recommender.bundle.item_vectors
    bounds = exact_bounds(ItemVectors(items, items.shape[1]), vectors, excluded, K)
    found = zip(tops, bounds.tolist(), strict=True)
    recall = np.mean([(top.scores >= bound - 1e-5).sum() / K for top, bound in found])
    return f"recall {recall:.4f}, {alone:.2f} ms alone, {together:.2f} ms of a batch"


def measure_similar(recommender: Recommender, items: Rows) -> str:
    """Recall@K against exact search and CPU time in ms of the items similar to some."""
    begun = time.process_time()
    tops = [recommender.similar(item, K) for item in items.tolist()]
    ms = (time.process_time() - begun) / len(tops) * 1e3
    columns = recommender.similarities.columns
    vectors = np.array(recommender.bundle.item_vectors[:, :columns])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    shares = []
    for item, top in zip(items.tolist(), tops, strict=True):
        cosines = vectors @ vectors[item]
        cosines[item] = -2
        shares.append((top.scores >= np.partition(cosines, -K)[-K] - 1e-5).sum() / K)
    return f"recall {np.mean(shares):.4f}, {ms:.2f} ms"


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--items", type=int, default=200_000, help="items of the synthetic bundle [200000]")
    add("--dim", type=int, default=128, help="columns of the synthetic bundle [128]")
    add("--index-memory", type=float, help="GiB that the indexes may have [4]")
    add("--store", type=Path, help="store whose live bundle is searched instead")
    add("--users", type=int, default=100, help="number of queries in each measurement [100]")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        store = BundleStore(options.store or Path(temporary))
        if options.store is None:
            contents = clustered_bundle(10_000, options.items, options.dim)
            if options.index_memory is not None:
                budget = int(options.index_memory * 1024**3)
                contents = replace(contents, index_budget=budget)
            begun = time.process_time()
            store.publish(contents)
            print(f"written and opened in {time.process_time() - begun:.0f} s of CPU")
        bundle = store.load()
        info, files = bundle.manifest.index, bundle.manifest.files
        sizes = {name: f"{entry.size / 1e6:.0f} MB" for name, entry in files.items()}
        print(
            f"{len(bundle.items):,} items × {bundle.manifest.dim}, {info.kind}, nprobe "
            f"{info.nprobe}, published recall {info.recall:.4f}; items.faiss "
            f"{sizes['items.faiss']}, similar.faiss {sizes.get('similar.faiss', 'none')}; "
            f"budget {(info.budget or BUDGET) / 1024**3:.2f} GiB"
        )
        recommender = Recommender(bundle)
        rng = np.random.default_rng(1)
        users = np.sort(rng.integers(len(bundle.users), size=options.users))
        vectors = np.array(bundle.user_vectors[users])
        best = best_items(bundle, vectors)
        measure(recommender, vectors, [NO_ITEMS] * len(best))  # pages are read
        for seen in SEEN:
            print(f"best {seen:>6}: {measure(recommender, vectors, [b[:seen] for b in best])}")
        for seen in SEEN[2::3]:
            rows = [rng.permutation(len(bundle.items))[:seen].astype(np.int32) for _ in best]
            print(f"any  {seen:>6}: {measure(recommender, vectors, rows)}")
        items = rng.integers(len(bundle.items), size=options.users).astype(np.int32)
        recommender.similar(int(items[0]), K)
        print(f"similar items: {measure_similar(recommender, items)}")
        asked = [f"item-{item}" for item in rng.integers(len(bundle.items), size=10_000)]
        bundle.items.get(asked[0])
        begun = time.process_time()
        for item_id in asked:
            bundle.items.get(item_id)
        us = (time.process_time() - begun) / len(asked) * 1e6
        print(f"look-up of an id: {us:.1f} µs")
    print(describe(SERVING))


if __name__ == "__main__":
    main()
