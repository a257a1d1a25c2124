"""What requests feel of a hot swap: latencies at a fixed rate, with and without swaps.

    python benchmarks/swap.py [--users 9308] [--items 6710]

Two random bundles of the size of the TikTok data set take turns as the live one; in every second
round of ten seconds the service is told to reload once a second. A request that fails ends the
benchmark.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from large_catalogue import at_a_rate
from machine import describe
from serving import HERE, PACKAGES, TIKTOK, free_port, running, say

from bundle.store import BundleStore


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=TIKTOK["n_users"])
    parser.add_argument("--items", type=int, default=TIKTOK["n_items"])
    parser.add_argument("--rate", type=float, default=300, help="requests a second [300]")
    parser.add_argument("--rounds", type=int, default=3, help="with and without swaps, each [3]")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from bundle_builders import make_contents

    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = BundleStore(root)
        size = {**TIKTOK, "n_users": options.users, "n_items": options.items}
        versions = [
            store.publish(make_contents(rng=np.random.default_rng(seed), **size))
            for seed in range(2)
        ]
        port = free_port()
        command = [sys.executable, "-m", "service", "--store", str(root), "--port", str(port)]
        command += ["--reload-poll", "0", "--log-level", "error"]
        stack.enter_context(running(command, port, set(range(64))))
        n = int(options.rate * 10)
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

        asyncio.run(at_a_rate(port, paths, options.rate))
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
        say(f"{name:<20} p50 {p50:.2f} ms, p99 {p99:.2f} ms, {len(latencies):,} requests, 0 failed")
    ratio = np.percentile(busy, 99) / np.percentile(quiet, 99)
    say(f"{len(swaps)} swaps of {np.median(swaps):.2f} s; p99 {ratio:.1f} × as long with them")
    say("\n".join(describe(PACKAGES)))


if __name__ == "__main__":
    main()
