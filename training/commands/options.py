"""Options and steps that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from bundle.errors import InputError
from training.config import FitConfig, RunOptions
from training.dataset import Dataset
from training.split import Split, make_split

Data = Annotated[Path, typer.Argument(help="Folder with interactions and features.")]
Store = Annotated[str, typer.Option(help="The store: a directory, or s3://, gs://, az://….")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Directory for copies of bundles of an object store. [~/.cache/drepmrec]"),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to fit.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch finds.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML or JSON file with hyper-parameters.")
]
Force = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="Publish what the gate refuses, and keep why."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One of them, e.g. model.dim=32."),
]


def run_options(seed: int, device: Literal["cpu", "cuda"], threads: int) -> RunOptions:
    """Run options that this machine can honour.

    Raises:
        InputError: there is no such device.
    """
    if device == "cuda":
        import torch

        if torch.cuda.is_available():
            return RunOptions(seed=seed, device=device, threads=threads)
        raise InputError("--device cuda: torch finds no CUDA device")
    return RunOptions(seed=seed, device=device, threads=threads)


def read_and_split(data: Path, config: FitConfig) -> tuple[Dataset, Split]:
    """The data set of a folder and its split, as a configuration wants them."""
    dataset = Dataset.read(data, min_weight=config.min_weight)
    return dataset, make_split(dataset, config.split, np.random.default_rng(config.split.seed))
