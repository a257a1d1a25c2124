"""How fast `/recommend` is, beside a FastAPI route that returns as many constant bytes, or Cornac.

    python benchmarks/serving.py [--store STORE] [--cornac PYTHON]

Both run under uvicorn with the service's settings, one worker, on one core; wrk runs on another
core if there are two. Rounds alternate, so that what else the machine does meets both. Every
request asks for another user, in random order, with seen items excluded and a vector cache of one
entry, so that no cache helps. Without --store, a random bundle of the size of the TikTok data set
(9,308 users × 6,710 items × 128) is served.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from machine import describe

from bundle.store import BundleStore

HERE = Path(__file__).resolve()
TIKTOK = {"n_users": 9_308, "n_items": 6_710, "dim": 128, "mean_history": 6}
PACKAGES = ("fastapi", "starlette", "uvicorn", "uvloop", "faiss-cpu", "numpy", "orjson")
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
    '{{"requests": %d, "us": %d, "p50": %f, "p99": %f, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True)
class Round:
    """What one run measured: requests/s, latencies in ms, CPU time of the server in µs a request.

    The CPU time says the same on a machine that others use, too; the rate does not.
    """

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: wrk's script, the server's port and process."""

    script: Path
    port: int
    pid: int


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Processes started inside inherit the affinity."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running(command: list[str], port: int, cores: set[int]) -> Iterator[int]:
    """The process id of a server, from when it listens until SIGTERM."""
    with on_cores(cores):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
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
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_answer(side: Side) -> None:
    """Gunicorn listens before its worker has loaded anything."""
    found = re.search(r'"(/[^"]*)"', side.script.read_text())
    assert found is not None
    for _ in range(300):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{side.port}{found[1]}", timeout=60).close()
            return
        time.sleep(0.2)
    raise SystemExit(f"no answer to {found[1]}")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process and its children have used so far."""
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = (process / f"task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


def run_wrk(side: Side, options: argparse.Namespace, cores: set[int]) -> Round:
    """One run of wrk."""
    command = [
        *("wrk", "--threads", "1", "--connections", str(options.connections)),
        *("--duration", f"{options.seconds}s", "--script", str(side.script)),
        f"http://127.0.0.1:{side.port}",
    ]
    before = cpu_seconds(side.pid)
    with on_cores(cores):
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu = cpu_seconds(side.pid) - before
    measured = json.loads(result.stdout.splitlines()[-1])
    if measured["errors"]:
        raise SystemExit(f"{measured['errors']} requests failed")
    seconds = measured["us"] / 1e6
    return Round(
        rate=measured["requests"] / seconds,
        p50=measured["p50"] / 1e3,
        p99=measured["p99"] / 1e3,
        cpu=cpu / measured["requests"] * 1e6,
    )


def serve_constant(body: Path, port: int) -> None:
    """The other side: a FastAPI route that returns the same bytes to everybody."""
    import uvicorn
    from fastapi import FastAPI, Response

    content = body.read_bytes()
    app = FastAPI()

    @app.get("/constant")
    async def constant() -> Response:
        return Response(content, media_type="application/json")

    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )


def prepare_store(options: argparse.Namespace, directory: Path) -> Path:
    """The given store, or one with a random bundle."""
    if options.store is not None:
        return Path(options.store)
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from bundle_builders import make_contents

    BundleStore(directory).publish(make_contents(rng=np.random.default_rng(0), **TIKTOK))
    return directory


def write_scripts(store: Path, k: int, directory: Path) -> tuple[Path, Path, str]:
    """The scripts of wrk for the service and for the constant route, and a path to look at."""
    bundle = BundleStore(store).load()
    with_taste = np.flatnonzero(np.any(bundle.user_vectors, axis=1))
    users = np.random.default_rng(0).permutation(with_taste)
    paths = [f"/recommend/{quote(bundle.users[u], safe='')}?k={k}" for u in users.tolist()]
    scripts = directory / "recommend.lua", directory / "constant.lua"
    for script, asked in zip(scripts, (paths, ["/constant"]), strict=True):
        script.write_text(LUA.format(paths=", ".join(json.dumps(path) for path in asked)))
    return *scripts, paths[0]


def cornac_command(options: argparse.Namespace, store: Path, directory: Path, port: int) -> str:
    """Train Cornac's BPR on what the bundle has seen; how to serve it, as its manual says."""
    bundle = BundleStore(store).load()
    users, items = bundle.seen.pairs()
    pairs = directory / "pairs.npz"
    ids = np.array(bundle.users.ids)[users], np.array(bundle.items.ids)[items]
    np.savez(pairs, users=ids[0], items=ids[1])
    trainer = str(HERE.parent / "toolbox_serving.py")
    command = [options.cornac, trainer, str(pairs), str(directory / "cornac")]
    trained = subprocess.run(command, capture_output=True, text=True, check=True)
    model = trained.stdout.splitlines()[-1]
    variables = f"MODEL_PATH={model} MODEL_CLASS=cornac.models.BPR"
    serve = f"-m gunicorn --workers 1 --bind 127.0.0.1:{port} cornac.serving.app:app"
    return f"exec env {variables} {options.cornac} {serve}"


def write_cornac_script(recommend: Path, k: int) -> Path:
    """Wrk's script for Cornac: the same users in the same order."""
    script = recommend.with_name("cornac.lua")
    query = f"?k={k}&remove_seen=true&uid="
    asked = recommend.read_text().replace("/recommend/", f"/recommend{query}")
    script.write_text(asked.replace(f'?k={k}"', '"'))
    return script


def report(
    options: argparse.Namespace, ours: list[Round], constant: list[Round], other: str
) -> None:
    """Print medians, the ratio, versions, hardware and the command."""

    def line(name: str, rounds: list[Round]) -> Round:
        middle = Round(
            *(
                statistics.median(getattr(r, field.name) for r in rounds)
                for field in dataclasses.fields(Round)
            )
        )
        say(
            f"{name:<24}{middle.rate:7.0f} requests/s   p50 {middle.p50:.2f} ms   "
            f"p99 {middle.p99:.2f} ms   CPU {middle.cpu:.0f} µs"
        )
        return middle

    our_middle, middle = line("/recommend", ours), line(other, constant)
    ratios = sorted(a.rate / b.rate for a, b in zip(ours, constant, strict=True))
    say(
        f"ratio {our_middle.rate / middle.rate:.2f} (by round {ratios[0]:.2f}…{ratios[-1]:.2f}), "
        f"by CPU time {middle.cpu / our_middle.cpu:.2f}; "
        f"{len(ours)} rounds of {options.seconds} s, {options.connections} connections"
    )
    say("\n".join(describe(PACKAGES)))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--store", help="serve its live bundle [a random one]")
    parser.add_argument("--k", type=int, default=20, help="items asked for [20]")
    parser.add_argument("--connections", type=int, default=16, help="of wrk [16]")
    parser.add_argument("--seconds", type=int, default=4, help="of a round [4]")
    parser.add_argument("--rounds", type=int, default=5, help="for each side [5]")
    parser.add_argument("--redis-url", help="look vectors up in a Redis [none]")
    parser.add_argument(
        "--cornac",
        metavar="PYTHON",
        help="compare with cornac.serving under gunicorn (BPR, 64 factors), installed there:\n"
        "PYTHON -m pip install cornac==3.0.1 torch flask gunicorn",
    )
    parser.add_argument("--constant", nargs=2, help=argparse.SUPPRESS, metavar=("BODY", "PORT"))
    options = parser.parse_args()
    if options.constant:
        serve_constant(Path(options.constant[0]), int(options.constant[1]))
        return
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; on Debian: apt-get install wrk")
    cores = sorted(os.sched_getaffinity(0))
    server_cores, wrk_cores = {cores[0]}, {cores[-1]}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = prepare_store(options, directory / "store")
        recommend, constant, path = write_scripts(store, options.k, directory)
        port, constant_port = free_port(), free_port()
        service = [sys.executable, "-m", "service", "--store", str(store), "--port", str(port)]
        service += ["--vector-cache-size", "1", "--log-level", "error"]
        if options.redis_url:
            service += ["--redis-url", options.redis_url]
        pid = stack.enter_context(running(service, port, server_cores))
        service_side = Side(recommend, port, pid)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
            body = response.read()
        (directory / "body").write_bytes(body)
        say(f"body of {len(body)} bytes; server on core {server_cores}, wrk on {wrk_cores}")
        other = [
            sys.executable,
            str(HERE),
            "--constant",
            str(directory / "body"),
            f"{constant_port}",
        ]
        name = "constant FastAPI route"
        if options.cornac:
            name = "cornac.serving, BPR"
            other = ["sh", "-c", cornac_command(options, store, directory, constant_port)]
            constant = write_cornac_script(recommend, options.k)
        pid = stack.enter_context(running(other, constant_port, server_cores))
        constant_side = Side(constant, constant_port, pid)
        wait_for_answer(constant_side)
        ours, theirs = [], []
        for _ in range(options.rounds + 1):
            ours.append(run_wrk(service_side, options, wrk_cores))
            theirs.append(run_wrk(constant_side, options, wrk_cores))
        report(options, ours[1:], theirs[1:], name)  # the first round warms up


if __name__ == "__main__":
    main()
