"""Latency of requests while the service swaps bundles, at a fixed rate.

    python -m benchmarks.serving.swap [--users 9308] [--items 6710]

Two random bundles of the size of the TikTok data set take turns as the live one. Rounds of ten
seconds alternate: in every second round the service is told to reload once a second. A failed
request ends the benchmark.
"""

import asyncio
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.environment import SERVING, argument_parser, describe
from benchmarks.load_generator import at_a_rate, free_port, running
from benchmarks.synthetic_bundles import N_ITEMS, N_USERS, random_bundle
from bundle.store.store import BundleStore

ROUND_SECONDS = 10


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--users", type=int, default=N_USERS, help=f"users of the bundles [{N_USERS}]")
    add("--items", type=int, default=N_ITEMS, help=f"items of the bundles [{N_ITEMS}]")
    add("--rate", type=float, default=300, help="requests per second [300]")
    add("--rounds", type=int, default=3, help="rounds with swaps, and as many without [3]")
    options = parser.parse_args()
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = BundleStore(root)
        versions = [
            store.publish(random_bundle(seed, options.users, options.items)) for seed in range(2)
        ]
        port = free_port()
        command = [sys.executable, "-m", "service", "--store", str(root), "--port", str(port)]
        command += ["--reload-poll", "0", "--log-level", "error"]
        stack.enter_context(running(command, port))
        n = int(options.rate * ROUND_SECONDS)
        paths = [f"/recommend/user-{(7919 * i) % options.users}?k=20" for i in range(n)]
        swaps: list[float] = []

        def swap(stop: threading.Event) -> None:
            while not stop.wait(1.0):
                store.rollback(versions[len(swaps) % 2])
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/admin/reload", method="POST"
                )
                begun = time.perf_counter()
                urllib.request.urlopen(request, timeout=60).close()
                swaps.append(time.perf_counter() - begun)

        asyncio.run(at_a_rate(port, paths, options.rate))  # warms up
        quiet: list[float] = []
        busy: list[float] = []
        for _ in range(options.rounds):
            quiet += asyncio.run(at_a_rate(port, paths, options.rate))[0]
            stop = threading.Event()
            swapping = threading.Thread(target=swap, args=(stop,))
            swapping.start()
            busy += asyncio.run(at_a_rate(port, paths, options.rate))[0]
            stop.set()
            swapping.join()
    for name, latencies in (("without swaps", quiet), ("a swap each second", busy)):
        p50, p99 = np.percentile(latencies, [50, 99])
        print(
            f"{name:<20} p50 {p50:.2f} ms, p99 {p99:.2f} ms, {len(latencies):,} requests, 0 failed"
        )
    ratio = np.percentile(busy, 99) / np.percentile(quiet, 99)
    print(f"{len(swaps)} swaps of {np.median(swaps):.2f} s; p99 {ratio:.1f} × as long with them")
    print(describe(SERVING))


if __name__ == "__main__":
    main()
