"""Command `tune`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bundle.errors import InputError
from training.cli.options import (
    Assignments,
    ConfigFile,
    Data,
    Device,
    Threads,
    read_and_split,
    run_options,
)
from training.fitting.config import config_toml, load_config


def tune(
    data: Data,
    study: Annotated[
        Path, typer.Option(help="SQLite file of the search; an existing one is continued.")
    ],
    trials: Annotated[
        int, typer.Option(min=1, help="Total number of trials, earlier runs included.")
    ] = 30,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no new trial starts.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Fits per trial; a trial's score is their mean.")
    ] = 1,
    config: ConfigFile = None,
    assignments: Assignments = None,
    out: Annotated[
        Path | None, typer.Option(help="File that also gets the best configuration.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Search for hyper-parameters and print the best ones as TOML.

    The output is a file for `fit --config`. The search starts from --config, keeps the values that
    --set gives and maximises recall@20 on the valid part; the test part is not used. To continue
    an interrupted search, run the same command again.
    """
    from training.tuning.search import search_hyperparameters

    given = assignments or []
    fit_config = load_config(config, given)
    options = run_options(0, device, threads)
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist")
    if out is not None:
        is_writable = os.access(out if out.exists() else out.parent, os.W_OK)
        if out.is_dir() or not is_writable:
            raise InputError(f"--out {out}: cannot be written as a file")
    dataset, split = read_and_split(data, fit_config)
    best = search_hyperparameters(
        split,
        dataset.modalities,
        dataset.fingerprint,
        fit_config,
        options,
        study,
        trials=trials,
        timeout=timeout,
        seeds=seeds,
        fixed=_fixed(given),
    )
    numbers = ", ".join(f"{count} {what}" for what, count in best.counts.items())
    text = (
        f"# Trial {best.trial} of {study.name} ({numbers}):\n"
        f"# valid recall@20 {best.score:.4f}, mean of {seeds} seed{'s' * (seeds > 1)}\n"
        f"{config_toml(best.config)}"
    )
    if out is not None:
        out.write_text(text, encoding="utf-8")
    typer.echo(text, nl=False)


def _fixed(assignments: list[str]) -> frozenset[str]:
    """Keys of the search space that --set fixes, one by one or by section."""
    from training.tuning.search_space import SEARCH_SPACE

    given = {assignment.partition("=")[0].strip() for assignment in assignments}
    return frozenset(key for key in SEARCH_SPACE if key in given or key.partition(".")[0] in given)
