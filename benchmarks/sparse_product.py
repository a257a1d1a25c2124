"""How fast `models.sparse` multiplies, beside torch's own sparse products.

    python benchmarks/sparse_product.py [--threads N]

One product of the interaction graph [U, I] with vectors [I, 64] and its backward pass, on the train
interactions of TikTok and Baby (drawn ones of the same sizes where the real ones are absent). The
three ways take turns, so that what else the machine does meets all of them; the least time is the
one that a busy machine disturbs least.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from machine import describe, real_data
from torch import Tensor

from models.graphs import interaction_graph
from training.dataset import Dataset
from training.split import SplitConfig, make_split

SIZES = {"tiktok": (9_308, 6_710, 59_541), "baby": (19_445, 7_050, 118_551)}
WAYS = ("embedding_bag", "torch COO", "torch CSR")


def train_pairs(name: str) -> tuple[Tensor, Tensor]:
    """user_idx and item_idx [nnz] of a data set, real if it is there."""
    folder = real_data(name)
    if folder is None:
        n_users, n_items, nnz = SIZES[name]
        drawn = np.random.default_rng(0).choice(n_users * n_items, nnz, replace=False)
        return torch.from_numpy(drawn // n_items), torch.from_numpy(drawn % n_items)
    split = make_split(Dataset.read(folder), SplitConfig(), np.random.default_rng(0))
    user_idx, item_idx = (torch.from_numpy(idx).long() for idx in split.train.pairs())
    return user_idx, item_idx


def products(name: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """The three ways to multiply the same matrix, checked against each other."""
    n_users, n_items, _ = SIZES[name]
    user_idx, item_idx = train_pairs(name)
    graph = interaction_graph(user_idx, item_idx, n_users, n_items)
    degrees = torch.bincount(user_idx)[user_idx] * torch.bincount(item_idx)[item_idx]
    coo = torch.sparse_coo_tensor(
        torch.stack([user_idx, item_idx]),
        degrees.float().rsqrt(),
        (n_users, n_items),
        check_invariants=False,
    ).coalesce()
    csr = coo.to_sparse_csr()
    ways = dict(
        zip(
            WAYS,
            (graph.matmul, lambda x: torch.sparse.mm(coo, x), lambda x: torch.sparse.mm(csr, x)),
            strict=True,
        )
    )
    x = torch.randn(n_items, 64, generator=torch.Generator().manual_seed(0))
    expected = coo.to_dense() @ x
    for way, product in ways.items():
        error = float((product(x) - expected).abs().max())
        assert error < 1e-4, f"{way} differs by {error}"
    return ways


def measure(name: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Least and median milliseconds of forward and backward for each way."""
    n_users, n_items, _ = SIZES[name]
    ways = products(name)
    x = torch.randn(n_items, 64, requires_grad=True)
    gradient = torch.randn(n_users, 64)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 3):
        for way, product in ways.items():
            x.grad = None
            started = time.perf_counter()
            product(x).backward(gradient)
            taken[way].append((time.perf_counter() - started) * 1e3)
    return {way: (min(times[3:]), statistics.median(times[3:])) for way, times in taken.items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch [as many as it finds]")
    parser.add_argument("--rounds", type=int, default=50, help="for each way [50]")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "Sparse (invariant|CSR)", UserWarning)  # known: it is timed
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in SIZES:
        measured = measure(name, options.rounds)
        our_least, our_median = measured[WAYS[0]]
        for way, (least, median) in measured.items():
            print(
                f"{name:<8}{way:<16}least {least:7.2f} ms ({least / our_least:5.1f} ×)   "
                f"median {median:7.2f} ms ({median / our_median:5.1f} ×)"
            )
    print(f"{options.rounds} rounds, {torch.get_num_threads()} threads")
    print("\n".join(describe(("torch", "numpy"))))


if __name__ == "__main__":
    main()
