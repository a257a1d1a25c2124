"""Time and memory of the k-NN graph and of a full ranking, at the size of a laptop's catalogue.

    python -m benchmarks.training.neighbours [--items N] [--features KIND] [--threads N]

The k-NN graph over random features: exact for 100,000 items (target: below 180 s and
3 GiB on 2 cores), by FAISS for more (target for a million: below 15 minutes, with a recall of at
least 0.95; a line on stderr states it). And a full ranking of 19,445 users × 7,050 items × 192
columns by `training.fitting.ranking.evaluate_vectors` (target: below 3 s). Each runs in a process
of its own, so that its peak memory is its own. CPU seconds divided by the threads are a lower bound
of the wall time on an idle machine.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import torch

from benchmarks.environment import argument_parser, describe, peak_memory
from bundle.csr import Csr
from training.fitting.neighbours import find_neighbours
from training.fitting.ranking import evaluate_vectors

BABY = {"n_users": 19_445, "n_items": 7_050, "train": 118_551, "valid": 21_682}


def clustered(n: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Random features [n, width] around one centre per hundred rows."""
    centres = torch.randn(max(n // 100, 1), width, generator=generator)
    of = torch.randint(len(centres), (n,), generator=generator)
    features = torch.randn(n, width, generator=generator).mul_(0.7)
    for some in torch.split(torch.arange(n), 65_536):  # no second copy of a million rows
        features[some] += centres[of[some]]
    return features


def in_subspaces(n: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Random features [n, width] in groups of clusters of unequal sizes.

    Cluster sizes follow Zipf's law; in a cluster, rows differ mainly along one of 64 subspaces of
    16 dimensions, as learnt embeddings do.
    """
    n_clusters = max(n // 200, 1)
    sizes = torch.arange(1, n_clusters + 1) ** -0.8
    of = torch.multinomial(sizes, n, replacement=True, generator=generator)
    groups = torch.randn(n_clusters // 20 + 1, width, generator=generator)
    centres = 0.7 * torch.randn(n_clusters, width, generator=generator)
    centres += groups[torch.randint(len(groups), (n_clusters,), generator=generator)]
    bases = 0.15 * torch.randn(64, 16, width, generator=generator)
    features = torch.randn(n, width, generator=generator).mul_(0.2)
    for number, basis in enumerate(bases):
        some = torch.nonzero(of % 64 == number).squeeze(1)
        along = torch.randn(len(some), 16, generator=generator)
        features[some] += centres[of[some]] + along @ basis
    return features


def noise(n: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Normal random features [n, width], without any clusters."""
    return torch.randn(n, width, generator=generator)


FEATURES = {"clusters": clustered, "subspaces": in_subspaces, "noise": noise}


def neighbours(n_items: int, width: int, kind: str) -> None:
    """Measure the k-NN graph of a catalogue."""
    features = FEATURES[kind](n_items, width, torch.Generator().manual_seed(0))
    before = peak_memory()
    clock, cpu = time.perf_counter(), time.process_time()
    everything = torch.ones(n_items, dtype=torch.bool)
    find_neighbours(features, everything, 10, torch.device("cpu"), kind)
    report(clock, cpu, before)


def evaluation() -> None:
    """Measure a full ranking of Baby's size."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    n_users, n_items = BABY["n_users"], BABY["n_items"]
    parts = [
        Csr.from_pairs(rng.integers(n_users, size=n), rng.integers(n_items, size=n), *shape)
        for n, shape in ((BABY[part], (n_users, n_items)) for part in ("valid", "train"))
    ]
    # Every user is ranked: users who drew no valid item get one.
    none = np.flatnonzero(parts[0].lengths == 0)
    user_idx, item_idx = parts[0].pairs()
    relevant = Csr.from_pairs(
        np.append(user_idx, none),
        np.append(item_idx, rng.integers(n_items, size=len(none))),
        n_users,
        n_items,
    )
    users = torch.randn(n_users, 192, generator=generator)
    items = torch.randn(n_items, 192, generator=generator)
    before = peak_memory()
    clock, cpu = time.perf_counter(), time.process_time()
    evaluate_vectors(users, items, relevant, parts[1])
    report(clock, cpu, before)


def report(clock: float, cpu: float, before: float) -> None:
    """Print measurements for the parent process: wall and CPU time in s, peak memory in MiB.

    Args:
        clock, cpu: wall and CPU time at the start.
        before: peak memory before the start.
    """
    measured = {
        "seconds": time.perf_counter() - clock,
        "cpu": time.process_time() - cpu,
        "peak": peak_memory(),
        "before": before,
    }
    print(json.dumps(measured))


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--items", type=int, default=100_000, help="items of the catalogue [100000]"
    )
    parser.add_argument(
        "--features", choices=FEATURES, default="clusters", help="kind of features [clusters]"
    )
    parser.add_argument("--width", type=int, default=256, help="columns of the features [256]")
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads; 0 for torch's default [0]"
    )
    parser.add_argument("--only", choices=["neighbours", "evaluation"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.only == "neighbours":
        neighbours(options.items, options.width, options.features)
        return
    if options.only == "evaluation":
        evaluation()
        return
    for name, what in (
        ("evaluation", "full ranking of 19,445 users × 7,050 items × 192"),
        ("neighbours", f"10 neighbours of {options.items:,} items × {options.width}"),
    ):
        command = [sys.executable, "-m", "benchmarks.training.neighbours", *sys.argv[1:]]
        command += ["--only", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:  # the reason is on stderr
            raise SystemExit(done.returncode)
        measured = json.loads(done.stdout)
        print(
            f"{what}: {measured['seconds']:.1f} s ({measured['cpu']:.1f} s of CPU), "
            f"peak {measured['peak']:.0f} MiB, of which {measured['before']:.0f} MiB before",
            flush=True,
        )
    print(f"{torch.get_num_threads()} threads")
    print(describe(("torch", "numpy")))


if __name__ == "__main__":
    main()
