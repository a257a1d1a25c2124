"""`tune`."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.errors import InputError
from training.commands.options import (
    Assignments,
    ConfigFile,
    Data,
    Device,
    Threads,
    read_and_split,
    run_options,
)
from training.config import config_toml, load_config


def tune(
    data: Data,
    study: Annotated[Path, typer.Option(help="SQLite file of the search; goes on if it exists.")],
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in all, those of earlier runs included.")
    ] = 30,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no further trial starts.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Fits of each trial; their mean is its score.")
    ] = 1,
    config: ConfigFile = None,
    assignments: Assignments = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write the best configuration into this file.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Search for hyper-parameters and print the best ones as TOML for `fit --config`.

    The search starts from --config; what --set gives stays as it is. Valid recall@20 decides, test
    is never looked at. A killed search goes on with the same command.
    """
    from training.tune import tune as search

    given = assignments or []
    fit_config = load_config(config, given)
    options = run_options(0, device, threads)
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    dataset, split = read_and_split(data, fit_config)
    best = search(
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
    """Keys of the search space that --set gives, alone or with their whole section."""
    from training.search_space import SEARCH_SPACE

    given = {assignment.partition("=")[0].strip() for assignment in assignments}
    return frozenset(key for key in SEARCH_SPACE if key in given or key.partition(".")[0] in given)
