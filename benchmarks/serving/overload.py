"""Goodput of `GET /recommend` under more load than the service has capacity for.

    python -m benchmarks.serving.overload [--redis-url URL] [--seconds 60] [-- SERVICE OPTIONS]

The service has one worker on one core; the load comes from another core if there is one. The
capacity is the best rate of wrk with 16, 64 or 256 connections. Then, each for --seconds:

- closed loop: wrk with --connections connections, each of which asks again at once;
- open loop: --factor times the capacity, whether or not earlier requests are answered, over up to
  2 × --connections connections; clients give up after 2 s.

Beside the load, a client asks 20 times a second, each time with a new connection, and `/healthz`
and `/readyz` are probed once a second, as Kubernetes does. Goodput is answers with status 200 a
second, in the open loop those within 1 s. Recovery is the time from the end of the load until the
client is answered within 0.1 s, and not degraded, for the first of ten times in a row.

The clients share one core with the load, so their latencies are upper bounds.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import uvloop

from benchmarks.environment import SERVING, argument_parser, describe
from benchmarks.load_generator import Side, cpu_seconds, on_cores, wrk
from benchmarks.serving.loaded_service import add_service_options, loaded_service
from benchmarks.serving.open_loop import OpenLoop

CLIENT_RATE = 20.0
"""Requests a second of the client beside the load."""
PROBE_SECONDS = 3.0
"""Time-out of a probe; that of the chart."""
IN_TIME = 1.0
"""Time within which an answer of the open loop is of use, s."""
RECOVERED = 0.1
"""Latency of an answer after the load, s, that counts as recovered."""
CAPACITY = 16, 64, 256
"""Connections of the runs that measure the capacity."""
WARM_UP = 8
"""Connections of a run before them."""
IN_A_ROW = 10
"""Number of such answers."""


@dataclass
class Observed:
    """Experience of the clients beside the load.

    Attributes:
        statuses: of the client's requests.
        latencies: of its answers with status 200, s.
        probes: outcomes of the probes.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    probes: Counter[str] = field(default_factory=Counter)


async def ask(port: int, path: str, seconds: float) -> tuple[str, float, bool]:
    """Status or kind of failure, latency in s, and whether degraded, with a new connection."""
    started = time.perf_counter()
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
                )
                answer = await reader.read()
            finally:
                writer.close()
    except TimeoutError:
        return "timeout", seconds, True
    except OSError:
        return "broken", time.perf_counter() - started, True
    status = answer[9:12].decode() or "broken"
    return status, time.perf_counter() - started, b'"degraded":true' in answer


async def observe(port: int, paths: list[str], until: asyncio.Event) -> Observed:
    """Ask and probe until an event."""
    observed = Observed()

    async def client(number: int) -> None:
        status, seconds, _ = await ask(port, paths[number % len(paths)], PROBE_SECONDS)
        observed.statuses[status] += 1
        if status == "200":
            observed.latencies.append(seconds)

    async def probe(path: str) -> None:
        observed.probes[(await ask(port, path, PROBE_SECONDS))[0]] += 1

    async with asyncio.TaskGroup() as tasks:
        number = 0
        while not until.is_set():
            tasks.create_task(client(number))
            if number % CLIENT_RATE == 0:
                tasks.create_task(probe("/healthz"))
                tasks.create_task(probe("/readyz"))
            number += 1
            await asyncio.sleep(1 / CLIENT_RATE)
    return observed


async def recovery(port: int, paths: list[str]) -> float:
    """Time in s until the client is answered quickly and not degraded, several times in a row."""
    started = time.perf_counter()
    since, row = started, 0
    while row < IN_A_ROW:
        asked = time.perf_counter()
        status, seconds, degraded = await ask(port, paths[row], PROBE_SECONDS)
        good = status == "200" and seconds < RECOVERED and not degraded
        if not good:
            row = 0
        elif row == 0:
            since = asked
        row += good
        await asyncio.sleep(1 / CLIENT_RATE)
    return since - started


def percentiles(latencies: list[float]) -> str:
    """p50 and p99 in ms."""
    if not latencies:
        return "no answers"
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def counted(counts: Counter[str]) -> str:
    """Counts by kind, the most frequent first."""
    return ", ".join(f"{kind}: {number:,}" for kind, number in counts.most_common())


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Parsed command line."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add_service_options(parser)
    add("--connections", type=int, default=2000, help="connections of the closed loop [2000]")
    add("--factor", type=float, default=3.0, help="rate of the open loop, of the capacity [3]")
    add("--seconds", type=int, default=60, help="duration of each overload [60]")
    add("service_options", nargs="*", metavar="OPTION", help="more options of the service")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Goodput:
    """Good answers per second, and per CPU second of the server."""

    rate: float
    per_cpu: float

    def of(self, capacity: "Goodput") -> str:
        """Text with the shares of a capacity."""
        return (
            f"goodput {self.rate:,.0f}/s, {self.rate / capacity.rate:.2f} of the capacity, "
            f"{self.per_cpu / capacity.per_cpu:.2f} by CPU time"
        )


Load = Callable[[], Awaitable[tuple[float, str]]]
"""Puts load on the service; the number of good answers, and what else is to be said."""


async def measure(side: Side, load: Load) -> tuple[Goodput, str]:
    """Goodput under a load."""
    started, cpu = time.perf_counter(), cpu_seconds(side.pid)
    good, said = await load()
    used = cpu_seconds(side.pid) - cpu
    return Goodput(good / (time.perf_counter() - started), good / used), said


async def overload(options: argparse.Namespace, side: Side, paths: list[str]) -> None:
    """Measure capacity and both kinds of overload, and print them."""
    cores = {max(os.sched_getaffinity(0))}

    async def closed(connections: int, seconds: int) -> tuple[float, str]:
        measured = await asyncio.to_thread(wrk, side, connections, seconds, cores)
        return measured["requests"] - measured["bad"], (
            f"refused {measured['refused']:,.0f}/s, {measured['errors']:.0f} errors; "
            f"p50 {measured['p50'] / 1e3:.0f} ms, p99 {measured['p99'] / 1e3:.0f} ms"
        )

    async def opened(rate: float) -> tuple[float, str]:
        loop = OpenLoop(side.port, paths, rate, 2 * options.connections)
        outcome = await loop.run(options.seconds)
        good = sum(seconds < IN_TIME for seconds in outcome.latencies)
        return good, f"{percentiles(outcome.latencies)}; {counted(outcome.counts)}"

    async def under(name: str, load: Load) -> None:
        over = asyncio.Event()
        watching = asyncio.create_task(observe(side.port, paths, over))
        goodput, said = await measure(side, load)
        over.set()
        observed = await watching
        seconds = await recovery(side.port, paths)
        print(f"{name}, {options.seconds} s\n  {goodput.of(capacity)}\n  {said}")
        latencies = percentiles(observed.latencies)
        print(f"  client beside it: {counted(observed.statuses)}; {latencies}")
        print(f"  probes: {counted(observed.probes)}; recovery {seconds:.1f} s")

    best = []
    for connections in WARM_UP, *CAPACITY:
        goodput, _ = await measure(side, partial(closed, connections, 5))
        if connections != WARM_UP:
            best.append(goodput)
            print(f"closed loop, {connections:5} connections: {goodput.rate:7,.0f} answers/s")
    capacity = Goodput(max(g.rate for g in best), max(g.per_cpu for g in best))
    await under(
        f"closed loop, {options.connections} connections",
        partial(closed, options.connections, options.seconds),
    )
    rate = options.factor * capacity.rate
    await under(f"open loop, {rate:,.0f} requests/s", partial(opened, rate))


def main() -> None:
    """Run the benchmark."""
    options = options_of(sys.argv[1:])
    with (
        loaded_service(options, options.service_options) as service,
        on_cores(service.load_cores),
    ):
        uvloop.run(overload(options, service.side, service.paths))
        print(describe(SERVING))


if __name__ == "__main__":
    main()
