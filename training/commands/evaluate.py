"""`evaluate`."""

import json
from typing import Annotated, Any, Literal

import typer

from bundle.errors import InputError
from bundle.store import BundleStore
from training.commands.options import (
    Cache,
    Data,
    Device,
    Seed,
    Store,
    Threads,
    read_and_split,
    run_options,
)
from training.config import Baseline, stored_config
from training.evaluate import Evaluation, evaluate_bundle


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
    cache: Cache = None,
) -> None:
    """Evaluate a published bundle through the code that serves, and baselines beside it.

    Full ranking over all items, train interactions masked; the split is the one of the bundle's
    configuration. Ties never flatter. The lightgcn baseline is fitted anew, on ids alone.
    """
    from training.baselines import evaluate_baseline

    bundle = BundleStore(store, cache).load(version)
    config = stored_config(bundle)
    dataset, split = read_and_split(data, config)
    if dataset.fingerprint != bundle.manifest.data_fingerprint:
        typer.echo(f"note: {bundle.version} was fitted on other data than {data}", err=True)
    relevant = {"test": split.test, "valid": split.valid}[part]
    if not relevant.nnz:
        raise InputError(f"{data}: the {part} part of the split is empty")
    found = evaluate_bundle(bundle, dataset, relevant, split.train)
    run = run_options(seed, device, threads)
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
