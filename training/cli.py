"""The command line: one function a command; results on stdout, progress on stderr."""

import json
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from bundle.errors import InputError
from bundle.store import BundleStore
from training.baselines import Baseline, evaluate_baseline
from training.config import FitConfig, RunOptions, load_config, stored_config
from training.dataset import Dataset
from training.evaluate import Evaluation, evaluate_bundle
from training.export import make_contents
from training.fit import fit as fit_model
from training.split import Split, make_split

app = typer.Typer(
    name="python -m training",
    help="Train DRepMRec, evaluate it and look after the store that the service reads.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
bundles = typer.Typer(help="List, show, verify and roll back the bundles of a store.")
app.add_typer(bundles, name="bundles", no_args_is_help=True)

Data = Annotated[Path, typer.Argument(help="Folder with interactions and features.")]
Store = Annotated[Path, typer.Option(help="Directory of the store.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to fit.")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as torch finds.")]


@app.command()
def fit(
    data: Data,
    store: Store,
    config: Annotated[
        Path | None, typer.Option(help="TOML or JSON file with hyper-parameters.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One of them, e.g. model.dim=32."),
    ] = None,
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

    All hyper-parameters, with their defaults, are printed by `python -m training config`.
    """
    started = time.perf_counter()
    options = RunOptions(seed=seed, device=device, threads=threads)
    fit_config = load_config(config, assignments or [])
    bundle_store = BundleStore(store)
    dataset, split = _read(data, fit_config)
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


@app.command()
def evaluate(
    data: Data,
    store: Store,
    version: Annotated[str | None, typer.Option(help="A version; the live one if absent.")] = None,
    part: Annotated[
        Literal["test", "valid"], typer.Option("--split", help="What is asked for.")
    ] = "test",
    baseline: Annotated[
        list[Baseline] | None,
        typer.Option(help="Compare with this one; may be repeated. All of them if absent."),
    ] = None,
    no_baselines: Annotated[
        bool, typer.Option("--no-baselines", help="Compare with none.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Evaluate a published bundle through the code that serves, and baselines beside it.

    Full ranking over all items, train interactions masked; the split is the one of the bundle's
    configuration. Ties never flatter. The lightgcn baseline is fitted anew, on ids alone.
    """
    bundle = BundleStore(store).load(version)
    config = stored_config(bundle)
    dataset, split = _read(data, config)
    if dataset.fingerprint != bundle.manifest.data_fingerprint:
        typer.echo(f"note: {bundle.version} was fitted on other data than {data}", err=True)
    relevant = {"test": split.test, "valid": split.valid}[part]
    if not relevant.nnz:
        raise InputError(f"{data}: the {part} part of the split is empty")
    found = evaluate_bundle(bundle, dataset, relevant, split.train)
    run = RunOptions(seed=seed, device=device, threads=threads)
    baselines: dict[str, dict[str, float]] = {}
    for name in () if no_baselines else baseline or Baseline:
        typer.echo(f"fitting and evaluating {name} …", err=True)
        baselines[name] = evaluate_baseline(name, split, relevant, config, run, dataset.fingerprint)
    if as_json:
        typer.echo(json.dumps(_evaluation_json(found, bundle.version, part, baselines)))
    else:
        typer.echo(f"{bundle.version}, {part} split ({split.how}), {found.n_users} users")
        if found.unknown_users or found.unknown_items:
            typer.echo(
                f"unknown to the bundle: {found.unknown_users} users (popular items), "
                f"{found.unknown_items} relevant items (missed)"
            )
        typer.echo(_table({"DRepMRec": found.metrics} | baselines))


@app.command("config")
def show_config(
    config: Annotated[Path | None, typer.Option(help="TOML or JSON file.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for fit.")
    ] = None,
) -> None:
    """Print every hyper-parameter with its value and what it is."""
    resolved = load_config(config, assignments or [])
    for key, value, description in _described(resolved):
        typer.echo(f"{key} = {json.dumps(value)}\n    {description}")


@bundles.command("list")
def list_bundles(store: Store) -> None:
    """All whole bundles, oldest first; the live one is marked."""
    bundle_store = BundleStore(store)
    live = bundle_store.live_version()
    for version in bundle_store.versions():
        manifest = bundle_store.manifest(version)
        mark = "*" if version == live else " "
        typer.echo(
            f"{mark} {version}  {manifest.n_users} users × {manifest.n_items} items × "
            f"{manifest.dim}, {manifest.size / 1e6:.1f} MB"
        )


@bundles.command()
def show(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="The live one if absent.")] = None,
) -> None:
    """The manifest as JSON."""
    bundle_store = BundleStore(store)
    typer.echo(bundle_store.manifest(version or bundle_store.current()).model_dump_json(indent=1))


@bundles.command()
def verify(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="All of them if absent.")] = None,
) -> None:
    """Open bundles as the service would: checksums, shapes, encoders."""
    bundle_store = BundleStore(store)
    for each in [version] if version else bundle_store.versions():
        bundle_store.load(each)
        typer.echo(f"{each}: whole")


@bundles.command()
def rollback(
    store: Store,
    version: Annotated[str | None, typer.Argument(help="The live one's parent if absent.")] = None,
) -> None:
    """Make an earlier bundle the live one."""
    typer.echo(f"live: {BundleStore(store).rollback(version)}")


def _read(data: Path, config: FitConfig) -> tuple[Dataset, Split]:
    dataset = Dataset.read(data, min_weight=config.min_weight)
    return dataset, make_split(dataset, config.split, np.random.default_rng(config.split.seed))


def _split_summary(split: Split) -> str:
    sizes = ", ".join(f"{getattr(split, p).nnz} {p}" for p in ("train", "valid", "test"))
    return f"split: {sizes} ({split.how})"


def _evaluation_json(
    found: Evaluation, version: str, part: str, baselines: dict[str, dict[str, float]]
) -> dict[str, Any]:
    return found.metrics | {
        "bundle_version": version,
        "split": part,
        "users": found.n_users,
        "unknown_users": found.unknown_users,
        "unknown_items": found.unknown_items,
        "baselines": baselines,
    }


def _table(rows: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(rows.values())))
    lines = [" " * 12 + "".join(f"{name:>14}" for name in names)]
    lines += [
        f"{row:<12}" + "".join(f"{metrics[name]:>14.4f}" for name in names)
        for row, metrics in rows.items()
    ]
    return "\n".join(lines)


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
