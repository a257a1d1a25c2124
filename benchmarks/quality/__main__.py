"""Tables of quality: one command each. They can be interrupted, and every run is stored.

    python -m benchmarks.quality baselines --data DIR --seeds 0 1 2 --name tiktok-baselines

A run is one model fitted with one seed. It is written to --runs as soon as it is finished and is
used by all tables from then on. The same command continues an interrupted table, also in the
middle of a fit. Runs by other versions of the code are used as they are, and reported on stderr;
delete their files to make them again. docs/results/README.md describes the tables.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.environment import argument_parser, is_by_this_code
from benchmarks.quality.bench import RUNS, Bench, about, open_bench
from benchmarks.quality.pages import add_options, write
from benchmarks.quality.report import Runs, numbers, rows
from benchmarks.quality.runner import SUFFIX, WITHOUT_CHANCE, plan, read, run, stored
from benchmarks.quality.tables import TABLES, Job
from training.baselines.closed_form_search import (
    EASE_GRID,
    IALS_COLUMNS,
    IALS_GRID,
    MAX_EPOCHS,
)
from training.baselines.registry import NEED_FEATURES

TITLES = {
    "baselines": "Comparison with baselines",
    "ablations": "Ablations",
    "plugin": "Gains of the modal line, BMA and SSS for other models",
    "plugin-bpr": "Gains of the modal line and BMA for other models, by their own loss",
    "modalities": "Single modalities",
    "missing": "Items that lost a modality",
    "alignment": "Forms of alignment",
    "grid": "Hyper-parameters of the baselines",
}

ONE_QUESTION = {"alignment", "plugin-bpr"}
"""Tables of variants that all try the same, of which one among many seems to help by chance."""


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Parsed command line."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("table", choices=list(TABLES))
    add("--data", type=Path, required=True, help="folder with interactions and features")
    add_options(parser)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the fits [0 1 2]")
    add("--runs", type=Path, default=RUNS, help=f"folder of the stored runs [{RUNS}]")
    add(
        "--set",
        dest="ours",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="hyper-parameter of DRepMRec in all rows; repeatable",
    )
    add(
        "--baseline",
        dest="baselines",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="hyper-parameter of a baseline, e.g. vbpr baseline.l2=0.001; repeatable",
    )
    add(
        "--split",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the split, e.g. split.by=random; repeatable",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="fit only rows whose label contains TEXT; repeatable",
    )
    add("--no-fit", action="store_true", help="show the rows that have stored runs; fit nothing")
    add(
        "--keep",
        action="store_true",
        help="rows without a stored run of these data and options keep the page's runs",
    )
    add("--epochs", type=int, help="maximum number of epochs, for a trial of the table")
    add("--threads", type=int, default=0, help="CPU threads; 0 for torch's default [0]")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="device of the fits [cpu]")
    return parser.parse_args(arguments)


def run_all(jobs: list[Job], options: argparse.Namespace, bench: Bench) -> Runs:
    """Runs of all jobs with all seeds; models without randomness run once."""
    runs: Runs = {}
    for job in jobs:
        wanted = not options.only or any(part in job.label for part in options.only)
        seeds = options.seeds[:1] if job.model in WITHOUT_CHANCE else options.seeds
        for seed in seeds:
            fits = wanted and not options.no_fit
            found = run(job, seed, bench) if fits else stored(job, seed, bench)
            if found is not None:
                runs.setdefault(job.label, []).append(found)
                print(_progress(job, seed, found), file=sys.stderr, flush=True)
    return runs


def possible(jobs: list[Job], bench: Bench) -> list[Job]:
    """The jobs without models that need features where the data have none; stderr names these."""
    modalities = bench.dataset.modalities
    graphs = [name for name, modality in modalities.items() if not modality.has_features]
    if modalities and not graphs:
        return jobs
    reason = f"{', '.join(graphs)} has none" if graphs else "the data have no modality"
    found = []
    for job in jobs:
        if job.model.rpartition(":")[2] in NEED_FEATURES:
            message = f"{job.label} is left out: it needs features of each modality, and {reason}"
            print(message, file=sys.stderr, flush=True)
        else:
            found.append(job)
    return found


def kept_runs(name: str, numbers: Path, runs: Path) -> Runs:
    """Runs that a page shows, by row; they may be of other data or options than today's."""
    shown = json.loads((numbers / f"{name}.json").read_text())["rows"]
    return {
        row["label"]: [
            read(next(runs.glob(f"*/{run}{SUFFIX}"))) | {"run": run} for run in row["runs"]
        ]
        for row in shown
    }


def not_run(jobs: list[Job], runs: Runs, bench: Bench) -> str:
    """Sentence on the rows that have no runs; empty where all have. Rows of equal runs are one."""
    missing: dict[str, str] = {}
    for job in jobs:
        if job.label not in runs:
            missing.setdefault(plan(job, 0, bench).name, job.label)
    return f" Not run: {'; '.join(missing.values())}." if missing else ""


def closed_forms(table: list[dict[str, Any]]) -> str:
    """Sentences on how EASE and iALS were chosen; empty where the table has neither."""
    found = [
        f"{row['label']}: {', '.join(f'{name} {x:g}' for name, x in row['chosen'].items())}"
        for row in table
        if row["chosen"]
    ]
    if not found:
        return ""
    alphas, l2s = (
        " ".join(f"{x:g}" for x in sorted(set(part))) for part in zip(*IALS_GRID, strict=True)
    )
    return (
        f" EASE has the best on valid of l2 {' '.join(f'{x:g}' for x in EASE_GRID)}, for each "
        f"number of columns; iALS that of alpha {alphas} × l2 {l2s}, found with {IALS_COLUMNS} "
        f"columns and seed 0, in at most {MAX_EPOCHS} epochs. Chosen: {'; '.join(found)}."
    )


def _progress(job: Job, seed: int, found: dict[str, Any]) -> str:
    valid = found["valid"]["recall@20"]
    note = "" if is_by_this_code(found["versions"]) else " (by another version of the code)"
    return f"{job.label}, seed {seed}: valid recall@20 {valid:.4f}{note}"


def main() -> None:
    """Make a table."""
    options = options_of(sys.argv[1:])
    shared = [*options.split]
    if options.epochs:
        shared.append(f"optim.max_epochs={options.epochs}")
    bench = open_bench(
        options.data,
        options.runs,
        tuple(shared),
        ours=tuple(options.ours),
        baselines=tuple((name, assignment) for name, assignment in options.baselines),
        threads=options.threads,
        device=options.device,
    )
    jobs = possible(TABLES[options.table](list(bench.dataset.modalities)), bench)
    runs = run_all(jobs, options, bench)
    found = about(options.data, bench)
    if options.keep:
        kept = kept_runs(options.name, options.numbers, options.runs)
        others = {label: kept[label] for label in kept.keys() - runs.keys()}
        runs = others | runs
        for data in sorted({run["data"] for of_job in others.values() for run in of_job}):
            names = {x for of in others.values() for r in of for x in r["modalities"]}
            found["data"] += (
                f" Rows of an earlier run of this page are of data {data[:12]}"
                f" ({', '.join(sorted(names)) or 'no modalities'})."
            )
    to_choose = options.table == "grid"  # test metrics would invite a choice by test
    parts = ("valid",) if to_choose else ("valid", "test")
    table = rows(jobs, runs, parts, options.table in ONE_QUESTION)
    title = ", ".join([f"{TITLES[options.table]}: {bench.name}", *options.ours])
    chosen = "Every fit stops on valid recall@20 and keeps its best epoch." + closed_forms(table)
    chosen += not_run(jobs, runs, bench)
    write(numbers(title, table, runs, chosen=chosen, **found), options)


if __name__ == "__main__":
    main()
