"""Load on a server at 127.0.0.1: wrk at full rate, or requests at a fixed rate.

Also starts servers on chosen cores and measures their CPU time.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 60
"""Longest wait until a server listens or answers."""
CONNECTIONS = 64
"""Open connections of requests at a fixed rate that are kept for the next request."""
LUA = """
local paths = {{ {paths} }}
local requests = {{}}
local next = 0
function init()
  for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path) end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{{"requests": %d, "us": %d, "p50": %f, "p99": %f, "bad": %d, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""
"""Script of wrk: requests the paths in turn, and prints one line of JSON."""


@dataclass(frozen=True)
class Round:
    """Measurements of one run of wrk.

    On a machine with other work, the CPU time is comparable between rounds; the rate is not.

    Attributes:
        rate: requests per second.
        p50, p99: percentiles of the latency, ms.
        cpu: CPU time of the server, µs per request.
    """

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Side:
    """One of the servers that are compared.

    Attributes:
        script: of wrk.
        port, pid: of the server.
    """

    script: Path
    port: int
    pid: int


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Processes that are started inside run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(command: list[str], port: int, cores: set[int] | None = None) -> Iterator[int]:
    """A server process, from when it listens on the port until SIGTERM.

    Args:
        command: starts the server.
        port: that it listens on.
        cores: that it runs on; None for all.

    Yields:
        Its process id.
    """
    with on_cores(cores or os.sched_getaffinity(0)):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"does not start: {' '.join(command)}") from None
                time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def free_port() -> int:
    """A port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_answer(side: Side) -> None:
    """Wait until the server answers; gunicorn listens before its worker has loaded anything."""
    found = re.search(r'"(/[^"]*)"', side.script.read_text())
    assert found is not None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{side.port}{found[1]}", timeout=60).close()
            return
        time.sleep(0.2)
    raise SystemExit(f"no answer to {found[1]}")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far, s."""
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = (process / f"task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


def write_script(file: Path, paths: list[str]) -> Path:
    """Write a script of wrk that requests the paths in turn."""
    file.write_text(LUA.format(paths=", ".join(json.dumps(path) for path in paths)))
    return file


def wrk(side: Side, connections: int, seconds: int, cores: set[int]) -> dict[str, float]:
    """One run of wrk with one thread on the given cores.

    Returns:
        `requests` answered, `rate` of answers with a good status and rate of those `refused`, per
        second, `p50` and `p99` of all, µs, and the number of `errors` of connections.
    """
    command = [
        *("wrk", "--threads", "1", "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--script", str(side.script)),
        f"http://127.0.0.1:{side.port}",
    ]
    with on_cores(cores):
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    elapsed = measured["us"] / 1e6
    measured["rate"] = (measured["requests"] - measured["bad"]) / elapsed
    measured["refused"] = measured["bad"] / elapsed
    return measured


def run_wrk(side: Side, connections: int, seconds: int, cores: set[int]) -> Round:
    """One run of wrk; a failed request ends the program."""
    before = cpu_seconds(side.pid)
    measured = wrk(side, connections, seconds, cores)
    cpu = cpu_seconds(side.pid) - before
    if failed := measured["errors"] + measured["bad"]:
        raise SystemExit(f"{failed} requests failed")
    return Round(
        rate=measured["rate"],
        p50=measured["p50"] / 1e3,
        p99=measured["p99"] / 1e3,
        cpu=cpu / measured["requests"] * 1e6,
    )


async def ask(port: int, path: str, pool: asyncio.Queue[Any]) -> dict[str, Any]:
    """Answer to one GET request; anything but 200 ends the program.

    Args:
        port: of the server.
        path: with its query.
        pool: of connections, or None where one is to be opened; gets the connection back.
    """
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
    """Request the paths at a fixed rate, whether or not earlier requests are answered.

    Latency counts from the moment at which a request is due, so that a stalled server does not
    delay the measurement of its stall.

    Args:
        port: of the server.
        paths: requested once each.
        rate: requests per second.

    Returns:
        Latencies in ms, and answers, both in the order of the paths.
    """
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
