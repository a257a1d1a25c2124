"""Data set, split and options that the runs of a table share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import command_line
from benchmarks.quality.tables import EASE_COLUMNS
from training.baselines.closed_form_search import choose_ease, choose_ials
from training.data.dataset import Dataset
from training.data.load import read_dataset
from training.data.split import Split, make_split
from training.fitting.config import load_config

RUNS = Path("benchmarks/runs")


@dataclass(frozen=True)
class Bench:
    """Data, folders and options that the runs of a table share.

    Attributes:
        name: of the data set; new runs go to the folder `runs`/`name`.
        dataset, split: of all runs.
        runs: folder of the stored runs, with a folder for each data set.
        ours: assignments for DRepMRec.
        baselines: (baseline, assignment) pairs.
        shared: assignments for all models, such as how to split.
        threads: CPU threads, 0 for torch's default.
        device: device of the fits.
    """

    name: str
    dataset: Dataset
    split: Split
    runs: Path
    ours: tuple[str, ...] = ()
    baselines: tuple[tuple[str, str], ...] = ()
    shared: tuple[str, ...] = ()
    threads: int = 0
    device: str = "cpu"

    @cached_property
    def ease_l2(self) -> dict[int | None, float]:
        """l2 of EASE by number of columns, chosen on valid."""
        return choose_ease(self.split, EASE_COLUMNS)

    @cached_property
    def ials_choice(self) -> tuple[float, float]:
        """Hyper-parameters alpha and l2 of iALS, chosen on valid with seed 0."""
        return choose_ials(self.split, 0)


def open_bench(folder: Path, runs: Path, shared: tuple[str, ...] = (), **more: Any) -> Bench:
    """Read and split the data of a folder.

    Args:
        folder: with interactions and features; its name is the data set's.
        runs: folder of the stored runs.
        shared: assignments for all models; those of the split take effect here.
        more: further attributes of `Bench`.
    """
    config = load_config(None, list(shared))
    dataset = read_dataset(folder, min_weight=config.min_weight)
    split = make_split(dataset, config.split, np.random.default_rng(config.split.seed))
    return Bench(folder.resolve().name, dataset, split, runs, shared=shared, **more)


def about(folder: Path, bench: Bench) -> dict[str, str]:
    """Sentence on data and split, and the command, without the folders of this machine."""
    data, split = bench.dataset, bench.split
    return {
        "data": (
            f"{bench.name}: {len(data.users):,} users × {len(data.items):,} items, "
            f"train {split.train.nnz:,}, valid {split.valid.nnz:,}, test {split.test.nnz:,} "
            f"({split.how}); {', '.join(data.modalities) or 'no modalities'}; "
            f"data {data.fingerprint[:12]}."
        ),
        "command": command_line(folder),
    }
