"""A GPU beside the CPU of the same machine: epochs of a fit, k-NN graphs, building an index.

    python -m benchmarks.training.gpu [--cpu-only] [--small]

Epochs by size (`benchmarks/training/fit_epoch.py`), the 10 nearest neighbours of 100,000 and of a
million items × 256 as a fit finds them (`training/fitting/neighbours.py`; on a GPU exactly), and
the index over a million items × 128 (`bundle/format/index.py`), on the GPU if FAISS is built for
it. Each part has a limit of its own; a part that takes longer is ended and said to be unfinished,
and the next one begins. Parts that do not fit into --limit seconds are left out, the least
important ones first, and named.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import faiss
import numpy as np
import torch

from benchmarks.environment import argument_parser, describe, peak_memory
from benchmarks.training.neighbours import clustered
from bundle.format.index import Sample, build_indexes
from bundle.types import NO_ITEMS
from training.fitting.neighbours import find_neighbours

NEIGHBOURS, WIDTH = 10, 256
"""Of the k-NN graphs: neighbours of an item, and columns of the features."""
DIM, QUERIES = 128, 512
"""Of the index: columns of the vectors, and queries that its recall is measured on."""
FEWEST_SECONDS = 10
"""A part that has less time left is not begun."""


@dataclass(frozen=True)
class Part:
    """A command of its own.

    Attributes:
        title: what it measures.
        limit: seconds after which it is ended.
        module: of `benchmarks.training`.
        arguments: of the module, without the device.
        device: cpu or cuda.
    """

    title: str
    limit: float
    module: str
    arguments: tuple[str, ...]
    device: str


def parts(small: bool) -> list[Part]:
    """All parts, the most important ones first."""
    few, many = ("2000", "5000") if small else ("100000", "1000000")
    index = "55000" if small else many

    def fits(shape: str, sizes: tuple[str, ...], device: str, limit: float) -> Part:
        arguments = ("--shape", shape, "--sizes", *sizes, "--budget", "2" if small else "15")
        return Part(f"fits, {shape}", limit, "fit_epoch", (*arguments, "--skip-tiktok"), device)

    def graph(items: str, device: str, limit: float) -> Part:
        arguments = ("--only", "graph", "--items", items)
        return Part(f"k-NN graph of {items} items", limit, "gpu", arguments, device)

    def build(device: str, limit: float) -> Part:
        arguments = ("--only", "index", "--items", index)
        return Part(f"index of {index} items", limit, "gpu", arguments, device)

    tiktok = ("tiktok", ("0.1", "0.2") if small else ("1", "4", "16"))
    movielens = ("movielens-1m", ("0.05", "0.1") if small else ("1", "10"))
    return [
        graph(few, "cuda", 40),
        graph(few, "cpu", 60),
        graph(many, "cuda", 90),
        fits(*tiktok, "cuda", 110),
        fits(*tiktok, "cpu", 130),
        build("cuda", 60),
        build("cpu", 90),
        fits(*movielens, "cuda", 90),
        fits(*movielens, "cpu", 90),
        graph(many, "cpu", 90),
    ]


def graph(n_items: int, device: str) -> str:
    """Measure a k-NN graph, the features' way to the device included."""
    features = clustered(n_items, WIDTH, torch.Generator().manual_seed(0))
    present, on = torch.ones(n_items, dtype=torch.bool), torch.device(device)
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # as in fits
        find_neighbours(features[:2048], present[:2048], NEIGHBOURS, on, "first ones")
    started, cpu = time.perf_counter(), time.process_time()
    find_neighbours(features, present, NEIGHBOURS, on, "features")
    return _measured(started, cpu)


def index(n_items: int, device: str) -> str:
    """Measure the building of an index; on the CPU, of two and how they have to be searched."""
    generator = torch.Generator().manual_seed(0)
    vectors = clustered(n_items + QUERIES, DIM, generator).numpy()
    vectors, queries = vectors[:n_items], vectors[n_items:]
    gpu = getattr(faiss, "GpuIndexIVFFlat", None)
    if device == "cuda" and gpu is None:
        return f"not run: FAISS {faiss.__version__} is not built for GPUs"
    started, cpu = time.perf_counter(), time.process_time()
    if gpu is None or device == "cpu":
        info = build_indexes(vectors, DIM, Sample(queries, [NO_ITEMS] * len(queries))).info
        return f"{_measured(started, cpu)}; {info.kind}, nprobe {info.nprobe}"
    resources = faiss.StandardGpuResources()
    on_gpu = gpu(resources, DIM, int(4 * np.sqrt(n_items)), faiss.METRIC_INNER_PRODUCT)
    on_gpu.cp.niter, on_gpu.cp.max_points_per_centroid = 10, 64  # as in build_indexes
    on_gpu.train(vectors)
    on_gpu.add(vectors)
    faiss.index_gpu_to_cpu(on_gpu)
    return _measured(started, cpu)


def _measured(started: float, cpu: float) -> str:
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    return f"{wall:.1f} s, {used:.1f} s of CPU, peak {peak_memory():.0f} MiB"


def run(part: Part, limit: float) -> str:
    """Run a part, which prints its measurements, and return how it ended."""
    module = f"benchmarks.training.{part.module}"
    command = [sys.executable, "-m", module, *part.arguments, "--device", part.device]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TMPDIR": folder}
        process = subprocess.Popen(command, process_group=0, env=environment)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"unfinished, ended after {limit:.0f} s"
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
                process.wait()
    return "done" if not status else f"failed with exit status {status}"


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--cpu-only", action="store_true", help="leave out what needs a GPU")
    add("--small", action="store_true", help="small sizes, to try the script")
    add("--limit", type=float, default=460, help="seconds for everything [460]")
    add("--only", choices=["graph", "index"], help=argparse.SUPPRESS)
    add("--items", type=int, help=argparse.SUPPRESS)
    add("--device", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure = graph if options.only == "graph" else index
        print(measure(options.items, options.device), flush=True)
        return
    if not options.cpu_only and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device; --cpu-only measures the CPU alone")
    started = time.perf_counter()
    for part in parts(options.small):
        if options.cpu_only and part.device == "cuda":
            continue
        print(f"== {part.title} on {part.device}", flush=True)
        left = options.limit - (time.perf_counter() - started)
        limit = min(part.limit, left)
        ended = run(part, limit) if left >= FEWEST_SECONDS else "not run: no time left"
        print(f"   {ended}; {time.perf_counter() - started:.0f} s in all", flush=True)
    if not options.cpu_only:
        cuda = torch.cuda.get_device_properties(0)
        print(f"{cuda.name}, {cuda.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    print(f"FAISS {faiss.__version__}, {faiss.omp_get_max_threads()} threads")
    print(f"{torch.get_num_threads()} threads of PyTorch")
    print(describe(("torch", "numpy")))


if __name__ == "__main__":
    main()
