"""Users per core-hour of bulk recommendations (`drepmrec recommend`).

    python -m benchmarks.serving.bulk [--items 10000 100000] [--users 30000] [--k 100]

For each number of items, a clustered bundle of 128 columns is published to a temporary store and
the recommendations of all its users are written to files. CPU time counts, of all threads; loading
the bundle does not.
"""

import tempfile
import time
from pathlib import Path

from benchmarks.environment import SERVING, argument_parser, describe
from benchmarks.synthetic_bundles import DIM, clustered_bundle
from bundle.search.options import RankingOptions
from bundle.store.store import BundleStore
from training.bulk.recommendations import BulkRecommender, Shard


def main() -> None:
    """Measure and print."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--items", type=int, nargs="+", default=[10_000, 100_000], help="[10000 100000]")
    add("--users", type=int, default=30_000, help="users of each bundle [30000]")
    add("--k", type=int, default=100, help="items for each user [100]")
    add("--threads", type=int, default=1, help="threads [1]")
    options = parser.parse_args()
    for n_items in options.items:
        with tempfile.TemporaryDirectory() as folder:
            store = BundleStore(Path(folder) / "store")
            store.publish(clustered_bundle(options.users, n_items, DIM))
            bundle = store.load()
            out = BundleStore(Path(folder) / "out").storage
            recommender = BulkRecommender(
                bundle, None, RankingOptions(), options.k, options.threads
            )
            started, cpu = time.perf_counter(), time.process_time()
            recommender.write(out, Shard(0, 1))
            cpu, took = time.process_time() - cpu, time.perf_counter() - started
            size = sum(path.stat().st_size for path in Path(folder, "out/blocks").iterdir())
        print(
            f"{n_items:,} items, {bundle.manifest.index.kind}: {options.users:,} users × "
            f"{options.k} items in {took:.1f} s, {cpu:.1f} s of CPU: "
            f"{options.users / cpu * 3600 / 1e6:.1f} million users a core-hour; "
            f"{size / options.users:.0f} bytes a user",
            flush=True,
        )
    print(describe(SERVING))


if __name__ == "__main__":
    main()
