"""`fit` and `config`."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle.store import BundleStore
from training.commands.options import (
    Assignments,
    ConfigFile,
    Data,
    Device,
    Seed,
    Store,
    Threads,
    read_and_split,
    run_options,
)
from training.config import FitConfig, load_config
from training.export import make_contents
from training.fit import fit as fit_model
from training.split import Split
from training.workers import is_first


def fit(
    data: Data,
    store: Store,
    config: ConfigFile = None,
    assignments: Assignments = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Directory of checkpoint and TensorBoard files. [STORE/run]"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Fit a model, export it and publish the bundle.

    `torchrun --nproc_per_node N -m training fit …` fits with N processes, each of which takes a
    part of every batch.

    All hyper-parameters, with their defaults, are printed by `python -m training config`.
    """
    started = time.perf_counter()
    options = run_options(seed, device, threads)
    fit_config = load_config(config, assignments or [])
    bundle_store = BundleStore(store)
    dataset, split = read_and_split(data, fit_config)
    if is_first():
        typer.echo(dataset.summary())
        typer.echo(_split_summary(split))
    model, progress = fit_model(
        split,
        dataset.modalities,
        dataset.fingerprint,
        fit_config,
        options,
        run or store / "run",
        resume=resume,
    )
    if not is_first():
        return
    best = progress.best
    typer.echo(
        f"best epoch {progress.best_epoch} of {progress.epoch}: "
        f"valid recall@20 {best['recall@20']:.4f}, ndcg@20 {best['ndcg@20']:.4f}"
    )
    parent = bundle_store.live_version()
    contents = make_contents(model, progress, dataset, split, fit_config, options, parent)
    for encoder, difference in contents.report["onnx_max_abs_difference"].items():
        typer.echo(f"{encoder}.onnx against torch: max abs difference {difference:.1e}")
    version = bundle_store.publish(contents)
    seconds = time.perf_counter() - started
    typer.echo(f"published {version} in {store} after {seconds:.0f} s")


def show_config(
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Print every hyper-parameter with its value and what it is."""
    resolved = load_config(config, assignments or [])
    for key, value, description in _described(resolved):
        typer.echo(f"{key} = {json.dumps(value)}\n    {description}")


def _split_summary(split: Split) -> str:
    sizes = ", ".join(f"{getattr(split, p).nnz} {p}" for p in ("train", "valid", "test"))
    return f"split: {sizes} ({split.how})"


def _described(config: FitConfig) -> list[tuple[str, Any, str]]:
    rows = []
    for section in ("model", "optim", "split"):
        part = getattr(config, section)
        rows += [
            (f"{section}.{name}", getattr(part, name), (field.description or ""))
            for name, field in type(part).model_fields.items()
        ]
    description = FitConfig.model_fields["min_weight"].description or ""
    return [*rows, ("min_weight", config.min_weight, description)]
