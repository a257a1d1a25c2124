"""Whether a catalogue of 100,000 items and an evaluation of Baby's size fit a laptop.

    python benchmarks/neighbours.py [--items N] [--threads N]

The k-NN graph of `models.graphs.nearest_neighbours` over clustered random features (target: below
180 s and 3 GiB on 2 cores), and a full ranking of 19,445 users × 7,050 items × 192 columns by
`training.ranking.evaluate_vectors` (target: below 3 s). Each runs in a process of its own, so that
its peak memory is its own. CPU seconds say what an idle machine would take: divided by the threads,
they are a lower bound of the wall time.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import torch
from machine import describe, peak_memory

from bundle.csr import Csr
from models.graphs import nearest_neighbours
from training.ranking import evaluate_vectors

BABY = {"n_users": 19_445, "n_items": 7_050, "train": 118_551, "valid": 21_682}


def clustered(n: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Features [n, width] around one centre for every hundred rows."""
    centres = torch.randn(max(n // 100, 1), width, generator=generator)
    of = torch.randint(len(centres), (n,), generator=generator)
    return centres[of] + 0.7 * torch.randn(n, width, generator=generator)


def neighbours(n_items: int, width: int) -> None:
    """The k-NN graph of a catalogue."""
    features = clustered(n_items, width, torch.Generator().manual_seed(0))
    before = peak_memory()
    clock, cpu = time.perf_counter(), time.process_time()
    nearest_neighbours(features, torch.ones(n_items, dtype=torch.bool), 10)
    report(clock, cpu, before)


def evaluation() -> None:
    """A full ranking of Baby's size."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    n_users, n_items = BABY["n_users"], BABY["n_items"]
    parts = [
        Csr.from_pairs(rng.integers(n_users, size=n), rng.integers(n_items, size=n), *shape)
        for n, shape in ((BABY[part], (n_users, n_items)) for part in ("valid", "train"))
    ]
    # Every user is ranked: a valid item for those who drew none.
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
    """What the parent process reads: seconds, CPU seconds, peak memory and that before, in MiB."""
    measured = {
        "seconds": time.perf_counter() - clock,
        "cpu": time.process_time() - cpu,
        "peak": peak_memory(),
        "before": before,
    }
    print(json.dumps(measured))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=100_000, help="of the catalogue [100000]")
    parser.add_argument("--width", type=int, default=256, help="of their features [256]")
    parser.add_argument("--threads", type=int, default=0, help="of torch [as many as it finds]")
    parser.add_argument("--only", choices=["neighbours", "evaluation"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.only == "neighbours":
        neighbours(options.items, options.width)
        return
    if options.only == "evaluation":
        evaluation()
        return
    for name, what in (
        ("evaluation", "full ranking of 19,445 users × 7,050 items × 192"),
        ("neighbours", f"10 neighbours of {options.items:,} items × {options.width}"),
    ):
        command = [sys.executable, *sys.argv, "--only", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:  # it has said why
            raise SystemExit(done.returncode)
        measured = json.loads(done.stdout)
        print(
            f"{what}: {measured['seconds']:.1f} s ({measured['cpu']:.1f} s of CPU), "
            f"peak {measured['peak']:.0f} MiB, of which {measured['before']:.0f} MiB before",
            flush=True,
        )
    print(f"{torch.get_num_threads()} threads")
    print("\n".join(describe(("torch", "numpy"))))


if __name__ == "__main__":
    main()
