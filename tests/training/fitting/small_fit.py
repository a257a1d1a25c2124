"""A fit that takes a tenth of a second."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.drepmrec import DRepMRec
from training.data.dataset import Dataset
from training.data.split import Split
from training.fitting.checkpoint import Progress
from training.fitting.config import RunOptions, load_config
from training.fitting.trainer import fit_model

SMALL = [
    "model.dim=8",
    "model.negatives=16",
    "optim.batch_size=64",
    "optim.batch_users=16",
    "optim.learning_rate=0.02",
]


def run_fit(
    dataset: Dataset,
    split: Split,
    directory: Path,
    *,
    epochs: int = 4,
    seed: int = 0,
    resume: bool = False,
    more: Sequence[str] = (),
    **options: Any,
) -> tuple[DRepMRec, Progress]:
    config = load_config(None, [*SMALL, f"optim.max_epochs={epochs}", *more])
    run = RunOptions(seed=seed, **options)
    return fit_model(
        split, dataset.modalities, dataset.fingerprint, config, run, directory, resume=resume
    )


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    other = two.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())
