"""The planted data set as what a table of benchmarks is made of."""

from pathlib import Path

import numpy as np

from benchmarks.quality.bench import Bench
from tests.support.data.planted_groups import planted_dataset
from training.data.split import make_split
from training.fitting.config import FitConfig


def planted_bench(runs: Path, shared: tuple[str, ...]) -> Bench:
    """A bench for one thread.

    Args:
        runs: folder of the stored runs.
        shared: hyper-parameters of all rows.
    """
    dataset = planted_dataset()
    split = make_split(dataset, FitConfig().split, np.random.default_rng(0))
    return Bench("planted", dataset, split, runs, shared=shared, threads=1)
