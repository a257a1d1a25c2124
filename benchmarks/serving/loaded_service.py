"""The service on one core, and requests for all of its users, for wrk on another core."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from benchmarks.load_generator import Side, free_port, running, wait_for_answer, write_script
from benchmarks.synthetic_bundles import random_bundle
from bundle.store.store import BundleStore


@dataclass(frozen=True)
class LoadedService:
    """A running service.

    Attributes:
        side: the service, with a script of wrk that requests the paths.
        paths: of requests for all users who have a vector, in random order.
        store: that it serves.
        directory: for further files, as long as the service runs.
        cores: that it runs on.
        load_cores: for the load, others if there are two.
    """

    side: Side
    paths: list[str]
    store: Path
    directory: Path
    cores: set[int]
    load_cores: set[int]


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `loaded_service` reads."""
    add = parser.add_argument
    add("--store", help="store whose live bundle is served [a random bundle]")
    add("--k", type=int, default=20, help="number of items in an answer [20]")
    add("--redis-url", help="Redis of the service [none]")


@contextmanager
def loaded_service(
    options: argparse.Namespace, service_options: list[str]
) -> Iterator[LoadedService]:
    """Start the service with one worker, and end it on exit.

    Its vector cache has one entry, so that no cache helps.

    Args:
        options: parsed `add_service_options`.
        service_options: more options of the service.

    Raises:
        SystemExit: wrk is missing, or the service does not start.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; on Debian: apt-get install wrk")
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        store = Path(options.store or directory / "store")
        if options.store is None:
            BundleStore(store).publish(random_bundle(0))
        paths = _paths(store, options.k)
        port = free_port()
        command = [sys.executable, "-m", "service", "--store", str(store), "--port", str(port)]
        command += ["--vector-cache-size", "1", "--log-level", "error", *service_options]
        if options.redis_url:
            command += ["--redis-url", options.redis_url]
        with running(command, port, {cores[0]}) as pid:
            side = Side(write_script(directory / "recommend.lua", paths), port, pid)
            wait_for_answer(side)
            yield LoadedService(side, paths, store, directory, {cores[0]}, {cores[-1]})


def _paths(store: Path, k: int) -> list[str]:
    bundle = BundleStore(store).load()
    with_vector = np.flatnonzero(np.any(bundle.user_vectors, axis=1))
    users = np.random.default_rng(0).permutation(with_vector)
    return [f"/recommend/{quote(bundle.users[u], safe='')}?k={k}" for u in users.tolist()]
