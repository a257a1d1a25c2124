"""How the service does with a million items: latency, recall, filters, start, memory.

    python benchmarks/large_catalogue.py [--items 1000000] [--users 100000] [--store STORE]

A clustered random bundle is made (or that of --store is served): items lie around the directions of
2,000 tastes, users are the mean of five items of two tastes. Requests come at a fixed rate, whether
or not those before are answered, and latency counts from the moment at which a request was due. The
filter `part = 0` leaves one item in a hundred. Client and service share the machine's cores.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from machine import describe
from numpy.typing import NDArray
from serving import HERE, PACKAGES, cpu_seconds, free_port, running, say

from bundle.contents import BundleContents
from bundle.csr import Csr
from bundle.ids import IdMap
from bundle.loading import Bundle
from bundle.store import BundleStore

Float = NDArray[np.float32]
TASTES, LIKED, NOISE = 2_000, 5, 0.8
CONNECTIONS = 64


def clustered(n_users: int, n_items: int, dim: int) -> BundleContents:
    """A bundle of that size."""
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from bundle_builders import make_contents

    rng = np.random.default_rng(0)
    small = make_contents(10, 20, dim, rng=rng)  # its encoders fit any number of items

    def unit(rows: Float) -> Float:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    directions = unit(rng.standard_normal((TASTES, dim), np.float32))
    taste = np.sort(rng.integers(TASTES, size=n_items))
    noise = rng.standard_normal((n_items, dim), np.float32) * np.float32(NOISE / dim**0.5)
    items = unit(directions[taste] + noise)
    first = np.searchsorted(taste, np.arange(TASTES + 1))
    wanted = rng.integers(TASTES, size=(n_users, 2))[:, [0, 0, 0, 1, 1]]
    low, high = first[wanted], np.maximum(first[wanted + 1], first[wanted] + 1)
    liked = np.minimum(rng.integers(low, high), n_items - 1)
    users = unit(sum((items[liked[:, n]] for n in range(LIKED)), np.zeros((n_users, dim), "f4")))
    rows = np.repeat(np.arange(n_users), LIKED)
    ids = IdMap([f"item-{n}" for n in range(n_items)], "item_id")
    shuffled = rng.permutation(n_items)
    return BundleContents(
        **{
            **vars(small),
            "users": IdMap([f"user-{n}" for n in range(n_users)], "user_id"),
            "items": ids,
            "user_vectors": users.astype(np.float32),
            "item_vectors": items[shuffled],
            "item_parts": items[shuffled],
            "seen": Csr.from_pairs(rows, np.argsort(shuffled)[liked].ravel(), n_users, n_items),
            "item_table": pa.table({"item_id": ids.ids, "part": np.arange(n_items) % 100}),
        }
    )


async def ask(port: int, path: str, pool: asyncio.Queue[Any]) -> dict[str, Any]:
    """One answer, over a connection that is kept."""
    reader, writer = await pool.get() or await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(head.decode())
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    body = await reader.readexactly(length)
    pool.put_nowait((reader, writer))
    answer: dict[str, Any] = json.loads(body)
    return answer


async def at_a_rate(
    port: int, paths: list[str], rate: float
) -> tuple[list[float], list[dict[str, Any]]]:
    """Latencies in ms and answers, asked for at a fixed rate."""
    pool: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        pool.put_nowait(None)
    started = time.perf_counter() + 0.1

    async def one(number: int) -> tuple[float, dict[str, Any]]:
        due = started + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        answer = await ask(port, paths[number], pool)
        return (time.perf_counter() - due) * 1e3, answer

    done = await asyncio.gather(*(one(number) for number in range(len(paths))))
    return [latency for latency, _ in done], [answer for _, answer in done]


def recall(bundle: Bundle, answers: list[dict[str, Any]], allowed: NDArray[np.bool_]) -> float:
    """Share of served items that are as good as the exact top k, of up to 200 answers."""
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--store", type=Path, help="serve its live bundle; made if it is not there")
    parser.add_argument("--rate", type=float, default=200, help="requests a second [200]")
    parser.add_argument("--filter-rate", type=float, default=50, help="with a filter [50]")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement [20]")
    options = parser.parse_args()
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        root = options.store or Path(temporary)
        store = BundleStore(root)
        if store.live_version() is None:
            begun = time.perf_counter()
            store.publish(clustered(options.users, options.items, options.dim))
            say(f"made and published in {time.perf_counter() - begun:.0f} s")
        bundle = store.load()
        manifest = bundle.manifest
        say(
            f"{manifest.n_users:,} users × {manifest.n_items:,} items × {manifest.dim}, "
            f"{manifest.size / 1e9:.2f} GB, index {manifest.index.kind}, nprobe "
            f"{manifest.index.nprobe}, recall {manifest.index.recall:.4f} when it was built"
        )
        port = free_port()
        command = [sys.executable, "-m", "service", "--store", str(root), "--port", str(port)]
        command += ["--log-level", "error", "--vector-cache-size", "1"]
        begun = time.perf_counter()
        pid = stack.enter_context(running(command, port, set(range(64))))
        pool: asyncio.Queue[Any] = asyncio.Queue()
        pool.put_nowait(None)
        asyncio.run(ask(port, "/readyz", pool))
        seconds = time.perf_counter() - begun
        say(f"ready after {seconds:.1f} s, {cpu_seconds(pid):.1f} s of CPU")
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
            say(
                f"{name:<14} {rate:.0f} requests/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
                f"recall@20 {recall(bundle, answers, allowed):.4f}"
            )
        status = Path(f"/proc/{pid}/status").read_text()
        sizes = {
            k: int(v.split()[0]) * 1024
            for k, _, v in (line.partition(":") for line in status.splitlines())
            if k.startswith(("VmRSS", "RssAnon"))
        }
        say(
            f"resident {sizes['VmRSS'] / 1e9:.2f} GB, {sizes['VmRSS'] / manifest.size:.2f} × the "
            f"bundle; {sizes['RssAnon'] / 1e9:.2f} GB of it not from its files"
        )
    say("\n".join(describe(PACKAGES)))


if __name__ == "__main__":
    main()
