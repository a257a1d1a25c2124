"""`fit` and `config`."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle.contents import BundleContents
from bundle.store import BundleStore
from training.commands.options import (
    Assignments,
    Cache,
    ConfigFile,
    Data,
    Device,
    Force,
    Seed,
    Store,
    Threads,
    read_and_split,
    run_options,
)
from training.config import FitConfig, load_config
from training.gate import MOST
from training.heldout import HeldOut
from training.judge import Judge, judged_publish
from training.split import Split


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
    warm_start: Annotated[
        bool,
        typer.Option(
            "--warm-start", help="Begin with what the last fit in --run learned; data may differ."
        ),
    ] = False,
    force: Force = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 0,
    cache: Cache = None,
) -> None:
    """Fit a model, export it and publish the bundle.

    `torchrun --nproc_per_node N -m training fit …` fits with N processes, each of which takes a
    part of every batch.

    Over a live bundle the new one is published if it is no worse (else: exit code 3).

    All hyper-parameters, with their defaults, are printed by `python -m training config`.
    """
    from training.checkpoint import Names
    from training.export import make_contents
    from training.fit import fit as fit_model
    from training.workers import is_first

    started = time.perf_counter()
    options = run_options(seed, device, threads)
    fit_config = load_config(config, assignments or [])
    bundle_store = BundleStore(store, cache)
    bundle_store.live_version()  # what is wrong with the store is said before hours of fitting
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
        run or bundle_store.work_folder,
        resume=resume,
        names=Names(dataset.users.ids, dataset.items.ids),
        warm=warm_start,
    )
    if not is_first():
        return
    best = progress.best
    typer.echo(
        f"best epoch {progress.best_epoch} of {progress.epoch}: "
        f"valid recall@20 {best['recall@20']:.4f}, ndcg@20 {best['ndcg@20']:.4f}"
    )
    if len(model.modality_weights) > 1:
        weights = ", ".join(f"{name} {w:.2f}" for name, w in model.modality_weights.items())
        typer.echo(f"weights of the modalities: {weights}")
    parent = bundle_store.live_version()
    contents = make_contents(model, progress, dataset, split, fit_config, options, parent)
    for encoder, difference in contents.report["onnx_max_abs_difference"].items():
        typer.echo(f"{encoder}.onnx against torch: max abs difference {difference:.1e}")
    version = _publish(bundle_store, contents, HeldOut.of_split(dataset, split, MOST), force)
    seconds = time.perf_counter() - started
    typer.echo(f"published {version} in {store} after {seconds:.0f} s")


def _publish(
    store: BundleStore, contents: BundleContents, held_out: HeldOut, forced: str | None
) -> str:
    """Publish a fit if the gate lets it pass, and leave a report."""
    live = None if store.live_version() is None else store.load()
    onnx = contents.report["onnx_max_abs_difference"]
    judge = Judge(store, live, held_out, {}, onnx=onnx, forced=forced)
    version = judged_publish(store, contents, judge)
    if live is not None:
        typer.echo(judge.report().table())
    return version


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
