"""Throughput of `GET /recommend`, beside a FastAPI route that returns constant bytes, or Cornac.

    python -m benchmarks.serving.throughput [--store STORE] [--cornac PYTHON]

The constant route returns as many bytes as a recommendation. Both servers run under uvicorn with
the service's settings, with one worker on one core; wrk runs on another core if there are two.
Rounds alternate, so that other work on the machine affects both sides. Every request is for another
user, in random order, with seen items excluded and a vector cache of one entry, so that no cache
helps. Without --store, a random bundle of the size of the TikTok data set is served (9,308 users ×
6,710 items × 128).
"""

import argparse
import dataclasses
import statistics
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.environment import SERVING, argument_parser, describe
from benchmarks.load_generator import (
    Round,
    Side,
    free_port,
    run_wrk,
    running,
    wait_for_answer,
    write_script,
)
from benchmarks.serving.loaded_service import add_service_options, loaded_service
from bundle.store.store import BundleStore

TOOLBOXES = Path(__file__).resolve().parents[1] / "quality/toolboxes"


def serve_constant(body: Path, port: int) -> None:
    """Serve a FastAPI route that returns the same bytes to every request."""
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


def cornac_command(options: argparse.Namespace, store: Path, directory: Path, port: int) -> str:
    """Shell command that serves Cornac's BPR as its manual says, after training it.

    Args:
        options: the parsed command line.
        store: whose live bundle's seen items are the training data.
        directory: for the model.
        port: to listen on.
    """
    bundle = BundleStore(store).load()
    users, items = bundle.seen.pairs()
    pairs = directory / "pairs.npz"
    ids = np.array(bundle.users.ids)[users], np.array(bundle.items.ids)[items]
    np.savez(pairs, users=ids[0], items=ids[1])
    trainer = str(TOOLBOXES / "cornac_serving.py")
    command = [options.cornac, trainer, str(pairs), str(directory / "cornac")]
    trained = subprocess.run(command, capture_output=True, text=True, check=True)
    model = trained.stdout.splitlines()[-1]
    variables = f"MODEL_PATH={model} MODEL_CLASS=cornac.models.BPR"
    serve = f"-m gunicorn --workers 1 --bind 127.0.0.1:{port} cornac.serving.app:app"
    return f"exec env {variables} {options.cornac} {serve}"


def cornac_paths(paths: list[str], k: int) -> list[str]:
    """Paths of Cornac's requests for the same users in the same order."""
    prefix, suffix = "/recommend/", f"?k={k}"
    users = (path.removeprefix(prefix).removesuffix(suffix) for path in paths)
    return [f"/recommend?k={k}&remove_seen=true&uid={user}" for user in users]


def report(options: argparse.Namespace, ours: list[Round], theirs: list[Round], name: str) -> None:
    """Print medians, their ratio, versions, hardware and the command.

    Args:
        options: the parsed command line.
        ours, theirs: rounds of the service and of the other side, alternating.
        name: of the other side.
    """

    def line(label: str, rounds: list[Round]) -> Round:
        middle = Round(
            *(
                statistics.median(getattr(r, field.name) for r in rounds)
                for field in dataclasses.fields(Round)
            )
        )
        print(
            f"{label:<24}{middle.rate:7.0f} requests/s   p50 {middle.p50:.2f} ms   "
            f"p99 {middle.p99:.2f} ms   CPU {middle.cpu:.0f} µs"
        )
        return middle

    our_middle, middle = line("/recommend", ours), line(name, theirs)
    ratios = sorted(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
    print(
        f"ratio {our_middle.rate / middle.rate:.2f} (by round {ratios[0]:.2f}…{ratios[-1]:.2f}), "
        f"by CPU time {middle.cpu / our_middle.cpu:.2f}; "
        f"{len(ours)} rounds of {options.seconds} s, {options.connections} connections"
    )
    print(describe(SERVING))


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Parsed command line."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add_service_options(parser)
    add("--connections", type=int, default=16, help="connections of wrk [16]")
    add("--seconds", type=int, default=4, help="duration of a round [4]")
    add("--rounds", type=int, default=5, help="rounds of each side [5]")
    add(
        "--cornac",
        metavar="PYTHON",
        help="compare with cornac.serving under gunicorn (BPR, 64 factors); PYTHON has it after\n"
        "PYTHON -m pip install cornac==3.0.1 torch flask gunicorn",
    )
    add("--constant", nargs=2, help=argparse.SUPPRESS, metavar=("BODY", "PORT"))
    return parser.parse_args(arguments)


def main() -> None:
    """Run the benchmark."""
    options = options_of(sys.argv[1:])
    if options.constant:
        serve_constant(Path(options.constant[0]), int(options.constant[1]))
        return
    with ExitStack() as stack:
        service = stack.enter_context(loaded_service(options, []))
        first = f"http://127.0.0.1:{service.side.port}{service.paths[0]}"
        with urllib.request.urlopen(first) as response:
            body = response.read()
        print(f"body of {len(body)} bytes")
        print(f"server on core {service.cores}, wrk on {service.load_cores}")
        directory, port = service.directory, free_port()
        if options.cornac:
            name, asked = "cornac.serving, BPR", cornac_paths(service.paths, options.k)
            other = ["sh", "-c", cornac_command(options, service.store, directory, port)]
        else:
            (directory / "body").write_bytes(body)
            name, asked = "constant FastAPI route", ["/constant"]
            other = [sys.executable, "-m", "benchmarks.serving.throughput"]
            other += ["--constant", str(directory / "body"), str(port)]
        pid = stack.enter_context(running(other, port, service.cores))
        sides = [service.side, Side(write_script(directory / "other.lua", asked), port, pid)]
        wait_for_answer(sides[1])
        rounds = [
            [
                run_wrk(side, options.connections, options.seconds, service.load_cores)
                for side in sides
            ]
            for _ in range(options.rounds + 1)
        ]
        ours, theirs = (list(side) for side in zip(*rounds[1:], strict=True))  # round 0 warms up
        report(options, ours, theirs, name)


if __name__ == "__main__":
    main()
