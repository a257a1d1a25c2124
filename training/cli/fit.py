"""Commands `fit` and `config`."""

import json
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bundle.format.writer import BundleContents
from bundle.search.options import RankingOptions
from bundle.store.store import BundleStore
from training.cli.options import (
    Assignments,
    Cache,
    ConfigFile,
    Data,
    Device,
    Force,
    GateOptions,
    IndexMemory,
    Seed,
    Store,
    Threads,
    index_budget,
    ranking_options,
    read_and_split,
    run_options,
)
from training.data.split import Split
from training.evaluation.heldout import HeldOut
from training.fitting.config import FitConfig, load_config
from training.fitting.ranking import watched_users
from training.gate.gate import MAX_USERS
from training.gate.publish import PublicationGate, publish_through_gate


def fit(
    data: Data,
    store: Store,
    config: ConfigFile = None,
    assignments: Assignments = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Directory for the checkpoint and TensorBoard files. [STORE/run]"),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the checkpoint in --run, if there is one."),
    ] = False,
    warm_start: Annotated[
        bool,
        typer.Option(
            "--warm-start",
            help="Start from the best parameters of the last fit in --run; data may differ.",
        ),
    ] = False,
    force: Force = None,
    gate_options: GateOptions = None,
    index_memory: IndexMemory = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 0,
    cache: Cache = None,
) -> None:
    """Fit a model and publish it as a bundle.

    If the store has a live bundle, the gate compares both and refuses a worse one (exit code 3).

    `torchrun --nproc_per_node N -m training fit …` fits with N processes that share each batch; a
    PyTorch process group that runs already is used instead. With --resume, the same command line
    also continues a fit that ended early, e.g. for `torchrun --max-restarts`.

    The command `config` prints all hyper-parameters with their defaults.
    """
    from training.export.export import make_contents
    from training.fitting.checkpoint import Names
    from training.fitting.distributed import is_first
    from training.fitting.model_factory import without_effect
    from training.fitting.run_folder import run_folder
    from training.fitting.trainer import fit_model

    started = time.perf_counter()
    options = run_options(seed, device, threads)
    fit_config = load_config(config, assignments or [])
    arm = ranking_options(gate_options)
    bundle_store = BundleStore(store, cache)
    if is_first():
        bundle_store.check_usable()
    folder = run or bundle_store.work_folder
    with run_folder(folder) if is_first() else nullcontext():
        dataset, split = read_and_split(data, fit_config)
        if is_first():
            typer.echo(dataset.summary())
            typer.echo(_split_summary(split))
            for sentence in without_effect(dataset.modalities, fit_config.model):
                typer.echo(f"note: {sentence}")
        model, progress = fit_model(
            split,
            dataset.modalities,
            dataset.fingerprint,
            fit_config,
            options,
            folder,
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
            + _sampled(split, fit_config.optim.valid_users)
        )
        if len(model.modality_weights) > 1:
            weights = ", ".join(f"{name} {w:.2f}" for name, w in model.modality_weights.items())
            typer.echo(f"weights of the modalities: {weights}")
        if model.linear is not None:
            typer.echo(f"weight of the linear part: {float(model.linear.weight):g}")
        elif fit_config.model.linear_columns:
            typer.echo("no linear part: no items with 5 interactions or more share users")
        parent = bundle_store.live_version()
        contents = make_contents(model, progress, dataset, split, fit_config, options, parent)
        if index_memory is not None:
            contents = replace(contents, index_budget=index_budget(index_memory))
        for encoder, difference in contents.report["onnx_max_abs_difference"].items():
            typer.echo(f"{encoder}.onnx against torch: max abs difference {difference:.1e}")
        held_out = HeldOut.of_split(dataset, split, MAX_USERS)
        version = _publish(bundle_store, contents, held_out, arm, force)
        seconds = time.perf_counter() - started
        typer.echo(f"published {version} in {store} after {seconds:.0f} s")


def _publish(
    store: BundleStore,
    contents: BundleContents,
    held_out: HeldOut,
    options: RankingOptions | None,
    forced: str | None,
) -> str:
    """Publish a fitted model if the gate accepts it; the report is stored either way."""
    live = None if store.live_version() is None else store.load()
    onnx = contents.report["onnx_max_abs_difference"]
    gate = PublicationGate(store, live, held_out, {}, onnx=onnx, options=options, forced=forced)
    version = publish_through_gate(store, contents, gate)
    if live is not None:
        typer.echo(gate.report().table())
    return version


def show_config(
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Print every hyper-parameter with its value and description."""
    resolved = load_config(config, assignments or [])
    for key, value, description in described(resolved):
        typer.echo(f"{key} = {json.dumps(value)}\n    {description}")


def _split_summary(split: Split) -> str:
    sizes = ", ".join(f"{getattr(split, p).nnz} {p}" for p in ("train", "valid", "test"))
    return f"split: {sizes} ({split.how})"


def _sampled(split: Split, most: int) -> str:
    evaluated, users = watched_users(split, most)
    return f" (a sample of {evaluated} of {users} users)" if users > evaluated else ""


def described(config: FitConfig) -> list[tuple[str, Any, str]]:
    """Key, value and description of every hyper-parameter."""
    rows = []
    for section in ("model", "optim", "split"):
        part = getattr(config, section)
        rows += [
            (f"{section}.{name}", getattr(part, name), (field.description or ""))
            for name, field in type(part).model_fields.items()
        ]
    description = FitConfig.model_fields["min_weight"].description or ""
    return [*rows, ("min_weight", config.min_weight, description)]
