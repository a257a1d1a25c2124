"""Service with a million items: latency, recall, filters, time to start, memory.

    python -m benchmarks.serving.large_catalogue [--items 1000000] [--users 100000] [--store STORE]

The bundle is that of --store, or a synthetic one: items lie around 2,000 directions, and a user's
vector is the mean of five items of two directions. Requests are made at a fixed rate, whether or
not earlier ones are answered, and latency counts from the moment at which a request is due. The
filter `part = 0` allows one item in a hundred. Client and service share the machine's cores.
"""

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from benchmarks.environment import SERVING, argument_parser, describe
from benchmarks.load_generator import ask, at_a_rate, cpu_seconds, free_port, running
from benchmarks.synthetic_bundles import clustered_bundle
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore


def recall(bundle: Bundle, answers: list[dict[str, Any]], allowed: NDArray[np.bool_]) -> float:
    """Share of the served items whose score reaches the exact top 20, of up to 200 answers.

    Args:
        bundle: that was served.
        answers: of `/recommend` with k = 20.
        allowed: mask [I] of the items that the filter allows.
    """
    shares = []
    for answer in answers[:: max(1, len(answers) // 200)]:
        row = bundle.users.get(answer["user_id"])
        assert row is not None
        scores = np.asarray(bundle.item_vectors) @ bundle.user_vectors[row]
        scores[~allowed] = -np.inf
        scores[bundle.seen.row(row)] = -np.inf
        served = np.array([item["score"] for item in answer["items"]])
        kth = np.partition(scores, -20)[-20]
        shares.append((served >= kth - 1e-5).sum() / 20)
    return float(np.mean(shares))


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--items", type=int, default=1_000_000, help="items of the synthetic bundle [1000000]")
    add("--users", type=int, default=100_000, help="users of the synthetic bundle [100000]")
    add("--dim", type=int, default=128, help="columns of the synthetic bundle [128]")
    add(
        "--store",
        type=Path,
        help="store whose live bundle is served; an empty one gets the synthetic bundle",
    )
    add("--rate", type=float, default=200, help="requests per second without a filter [200]")
    add("--filter-rate", type=float, default=50, help="requests per second with a filter [50]")
    add("--seconds", type=float, default=20, help="duration of each measurement [20]")
    options = parser.parse_args()
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        root = options.store or Path(temporary)
        store = BundleStore(root)
        if store.live_version() is None:
            begun = time.perf_counter()
            store.publish(clustered_bundle(options.users, options.items, options.dim))
            print(f"made and published in {time.perf_counter() - begun:.0f} s")
        bundle = store.load()
        manifest = bundle.manifest
        print(
            f"{manifest.n_users:,} users × {manifest.n_items:,} items × {manifest.dim}, "
            f"{manifest.size / 1e9:.2f} GB, index {manifest.index.kind}, nprobe "
            f"{manifest.index.nprobe}, recall {manifest.index.recall:.4f} when it was built"
        )
        port = free_port()
        command = [sys.executable, "-m", "service", "--store", str(root), "--port", str(port)]
        command += ["--log-level", "error", "--vector-cache-size", "1"]
        begun = time.perf_counter()
        pid = stack.enter_context(running(command, port))
        pool: asyncio.Queue[Any] = asyncio.Queue()
        pool.put_nowait(None)
        asyncio.run(ask(port, "/readyz", pool))
        seconds = time.perf_counter() - begun
        print(f"ready after {seconds:.1f} s, {cpu_seconds(pid):.1f} s of CPU")
        users = np.random.default_rng(1).integers(manifest.n_users, size=1_000_000)
        everything = np.ones(manifest.n_items, np.bool_)
        some = np.arange(manifest.n_items) % 100 == 0
        condition = "&filter=" + quote("part = 0")
        for name, rate, extra, allowed in (
            ("all items", options.rate, "", everything),
            ("filter of 1 %", options.filter_rate, condition, some),
        ):
            n = int(rate * options.seconds)
            paths = [f"/recommend/user-{user}?k=20{extra}" for user in users[:n]]
            asyncio.run(at_a_rate(port, paths[: n // 10], rate))
            latencies, answers = asyncio.run(at_a_rate(port, paths, rate))
            p50, p99 = np.percentile(latencies, [50, 99])
            print(
                f"{name:<14} {rate:.0f} requests/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
                f"recall@20 {recall(bundle, answers, allowed):.4f}"
            )
        status = Path(f"/proc/{pid}/status").read_text()
        sizes = {
            k: int(v.split()[0]) * 1024
            for k, _, v in (line.partition(":") for line in status.splitlines())
            if k.startswith(("VmRSS", "RssAnon"))
        }
        print(
            f"resident {sizes['VmRSS'] / 1e9:.2f} GB, {sizes['VmRSS'] / manifest.size:.2f} × the "
            f"bundle; {sizes['RssAnon'] / 1e9:.2f} GB of it not from its files"
        )
    print(describe(SERVING))


if __name__ == "__main__":
    main()
