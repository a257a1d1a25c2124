"""Command `evaluate`."""

import json
from typing import Annotated, Any, Literal

import typer

from bundle.errors import InputError
from training.cli.options import (
    Cache,
    Data,
    Device,
    OptionsFile,
    Seed,
    Store,
    Threads,
    existing_store,
    ranking_options,
    read_and_split,
    run_options,
)
from training.evaluation.bundle_evaluation import Evaluation, evaluate_bundle
from training.evaluation.known_pairs import known_pairs, selected
from training.fitting.config import SimpleBaseline, stored_config

OPTIONS_ROW = "with options"
"""Name of the row of the bundle with the options of --options."""


def evaluate(
    data: Data,
    store: Store,
    version: Annotated[str | None, typer.Option(help="Version. [the live one]")] = None,
    part: Annotated[
        Literal["test", "valid"],
        typer.Option("--split", help="Part of the split whose interactions are the targets."),
    ] = "test",
    baseline: Annotated[
        list[SimpleBaseline] | None,
        typer.Option(help="Baseline to compare with; repeatable. [all]"),
    ] = None,
    no_baselines: Annotated[
        bool, typer.Option("--no-baselines", help="Skip the baselines.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    options: OptionsFile = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 0,
    cache: Cache = None,
) -> None:
    """Evaluate a published bundle and compare it with baselines.

    Uses the search code of the service. Ranks all items except those in the user's train
    interactions; the split is that of the bundle's configuration; ties count against the model.
    Interactions that the bundle already has are not evaluated as if they were new: if it was fitted
    on other data they are left out, and those that a refresh added are taken out of the histories.
    The baselines are fitted for the comparison, on interactions alone: ease and ials with each
    value of a grid, of which valid chooses. ease takes at most 20,000 items. With --options, a
    second row has the same bundle with these options, as one request for 20 items returns them.
    """
    from training.baselines.closed_form import MAX_ITEMS, refuse_large
    from training.baselines.simple import evaluate_baseline

    arm = ranking_options(options)
    bundle = existing_store(store, cache).load(version)
    config = stored_config(bundle)
    dataset, split = read_and_split(data, config)
    wanted = [] if no_baselines else baseline or list(SimpleBaseline)
    if SimpleBaseline.EASE in wanted and len(dataset.items) > MAX_ITEMS:
        if baseline:
            refuse_large(len(dataset.items))
        wanted.remove(SimpleBaseline.EASE)
        typer.echo(f"ease is left out: more than {MAX_ITEMS:,} items", err=True)
    relevant = {"test": split.test, "valid": split.valid}[part]
    if not relevant.nnz:
        raise InputError(f"{data}: the {part} part of the split is empty")
    fitted_on = dataset.fingerprint == bundle.manifest.data_fingerprint
    left_out = 0
    if not fitted_on:
        # The model may have been fitted on them, so no vector is without them.
        known = known_pairs(bundle, dataset.users.ids, dataset.items, relevant)
        left_out = int(known.sum())
        if left_out == relevant.nnz:
            raise InputError(
                f"{data}: {bundle.version} was fitted on other data and has all {left_out:,}"
                f" interactions of the {part} part, so they measure nothing"
            )
        relevant = selected(relevant, ~known)
    found = evaluate_bundle(bundle, dataset, relevant, split.train)
    with_options: dict[str, dict[str, float]] = {}
    if arm is not None:
        evaluated = evaluate_bundle(bundle, dataset, relevant, split.train, options=arm)
        with_options[OPTIONS_ROW] = evaluated.metrics
    run = run_options(seed, device, threads)
    baselines: dict[str, dict[str, float]] = {}
    for name in wanted:
        typer.echo(f"fitting and evaluating {name} …", err=True)
        baselines[name] = evaluate_baseline(name, split, relevant, config, run, dataset.fingerprint)
    if as_json:
        typer.echo(
            json.dumps(
                _evaluation_json(found, bundle.version, part, with_options, baselines)
                | {"fitted_on_these_data": fitted_on, "left_out_pairs": left_out}
            )
        )
    else:
        typer.echo(f"{bundle.version}, {part} split ({split.how}), {found.n_users} users")
        if found.unknown_users or found.unknown_items:
            typer.echo(
                f"not in the bundle: {found.unknown_users} users (get popular items), "
                f"{found.unknown_items} relevant items (count as missed)"
            )
        if not fitted_on:
            typer.echo(
                f"the bundle was fitted on other data: {left_out:,} {part} interactions that it has"
                f" are left out, {relevant.nnz:,} remain"
            )
        if found.encoded_users:
            typer.echo(
                f"a refresh has added {part} interactions of {found.encoded_users:,} users: their"
                " vectors are computed without them"
            )
        typer.echo(_table({"DRepMRec": found.metrics} | with_options | baselines))


def _evaluation_json(
    found: Evaluation,
    version: str,
    part: str,
    with_options: dict[str, dict[str, float]],
    baselines: dict[str, dict[str, float]],
) -> dict[str, Any]:
    return found.metrics | {
        "with_options": with_options.get(OPTIONS_ROW),
        "bundle_version": version,
        "split": part,
        "users": found.n_users,
        "unknown_users": found.unknown_users,
        "unknown_items": found.unknown_items,
        "encoded_users": found.encoded_users,
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
