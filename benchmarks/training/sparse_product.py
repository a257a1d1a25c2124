"""Speed of `models.sparse`, beside torch's own sparse products.

    python -m benchmarks.training.sparse_product [--threads N]

One product of the interaction graph [U, I] with vectors [I, 64] and its backward pass, on the train
interactions of TikTok and Baby, or random ones of the same sizes where the real ones are absent.
The three ways alternate, so that other work on the machine affects all of them. The least time is
the one that other work disturbs least.
"""

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.environment import argument_parser, describe, real_data
from models.graphs import interaction_graph
from training.data.load import read_dataset
from training.data.split import SplitConfig, make_split

SIZES = {"tiktok": (9_308, 6_710, 59_541), "baby": (19_445, 7_050, 118_551)}
OURS = "embedding_bag"
"""The way of `models.sparse`."""


def train_pairs(name: str) -> tuple[Tensor, Tensor]:
    """Train interactions of a data set, user_idx and item_idx [nnz]; random if it is absent."""
    folder = real_data(name)
    if folder is None:
        n_users, n_items, nnz = SIZES[name]
        drawn = np.random.default_rng(0).choice(n_users * n_items, nnz, replace=False)
        return torch.from_numpy(drawn // n_items), torch.from_numpy(drawn % n_items)
    split = make_split(read_dataset(folder), SplitConfig(), np.random.default_rng(0))
    user_idx, item_idx = (torch.from_numpy(idx).long() for idx in split.train.pairs())
    return user_idx, item_idx


def products(name: str) -> dict[str, Callable[[Tensor], Tensor]]:
    """Products with the graph of a data set, by way; checked against the dense product."""
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
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        OURS: graph.matmul,
        "torch COO": lambda x: torch.sparse.mm(coo, x),
        "torch CSR": lambda x: torch.sparse.mm(csr, x),
    }
    x = torch.randn(n_items, 64, generator=torch.Generator().manual_seed(0))
    expected = coo.to_dense() @ x
    for way, product in ways.items():
        error = float((product(x) - expected).abs().max())
        assert error < 1e-4, f"{way} differs by {error}"
    return ways


def measure(name: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Least and median time of forward and backward, in ms, by way."""
    n_users, n_items, _ = SIZES[name]
    ways = products(name)
    x = torch.randn(n_items, 64, requires_grad=True)
    gradient = torch.randn(n_users, 64)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 3):
        for way, product in ways.items():
            x.grad = None
            started = time.perf_counter()
            product(x).backward(gradient)  # type: ignore[no-untyped-call]  # torch leaves it so
            taken[way].append((time.perf_counter() - started) * 1e3)
    return {way: (min(times[3:]), statistics.median(times[3:])) for way, times in taken.items()}


def main() -> None:
    """Run the benchmark."""
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads; 0 for torch's default [0]"
    )
    parser.add_argument("--rounds", type=int, default=50, help="rounds of each way [50]")
    options = parser.parse_args()
    warnings.filterwarnings(
        "ignore", "Sparse (invariant|CSR)", UserWarning
    )  # the slow ways are measured on purpose
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in SIZES:
        measured = measure(name, options.rounds)
        our_least, our_median = measured[OURS]
        for way, (least, median) in measured.items():
            print(
                f"{name:<8}{way:<16}least {least:7.2f} ms ({least / our_least:5.1f} ×)   "
                f"median {median:7.2f} ms ({median / our_median:5.1f} ×)"
            )
    print(f"{options.rounds} rounds, {torch.get_num_threads()} threads")
    print(describe(("torch", "numpy")))


if __name__ == "__main__":
    main()
