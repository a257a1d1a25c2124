"""The tables of docs/results: one command each, resumable, every run kept.

    python benchmarks/quality.py baselines --data DIR --seeds 0 1 2 --out docs/results/NAME.json

Each run (a model with a seed) is written to --results as soon as it is done and found there the
next time, also by other tables: an interrupted table goes on where it stopped, in the middle of a
fit if need be. Runs by earlier code are used, and named: remove the files to make them again. --out
gets the numbers as JSON, and beside it a page in Markdown (and a figure).
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from provenance import code
from quality_jobs import TABLES, Job
from quality_pages import open_bench, write
from quality_report import Runs, draw, rows
from quality_runs import WITHOUT_LEARNING, Bench, run, stored

RESULTS = Path("docs/results/runs")
TITLES = {
    "baselines": "DRepMRec beside other models",
    "ablations": "DRepMRec without one thing at a time",
    "plugin": "What the modal line, BMA and SSS add to other models",
    "modalities": "Each modality alone",
    "missing": "Items that lost a modality",
    "grid": "Hyper-parameters of the rivals",
}


def options_of(arguments: list[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("table", choices=list(TABLES))
    add("--data", type=Path, required=True, help="folder with interactions and features")
    add("--out", type=Path, required=True, help="JSON file; the page is beside it")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the fits [0 1 2]")
    add("--results", type=Path, default=RESULTS, help=f"finished runs [{RESULTS}]")
    add("--set", dest="ours", action="append", default=[], metavar="KEY=VALUE", help="of DRepMRec")
    rival = {"nargs": 2, "action": "append", "default": [], "metavar": ("NAME", "KEY=VALUE")}
    add("--rival", help="of a rival, e.g. vbpr rival.l2=0.001", **rival)
    add("--split", action="append", default=[], metavar="KEY=VALUE", help="e.g. split.by=random")
    add("--only", action="append", default=[], help="fit rows whose name has this; show all done")
    add("--epochs", type=int, help="at most, to try a table out")
    add("--threads", type=int, default=0, help="CPU threads; 0: as many as torch finds")
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where models are fitted")
    return parser.parse_args(arguments)


def run_all(jobs: list[Job], options: argparse.Namespace, bench: Bench) -> Runs:
    """Every job with every seed; models without chance once."""
    runs: Runs = {}
    for job in jobs:
        wanted = not options.only or any(part in job.label for part in options.only)
        seeds = options.seeds[:1] if job.model in WITHOUT_LEARNING else options.seeds
        for seed in seeds:
            found = run(job, seed, bench) if wanted else stored(job, seed, bench)
            if found is not None:
                runs.setdefault(job.label, []).append(found)
                print(_progress(job, seed, found), file=sys.stderr, flush=True)
    return runs


def _progress(job: Job, seed: int, found: dict[str, Any]) -> str:
    valid = found["valid"]["recall@20"]
    note = "" if found["versions"]["code"] == code() else " (by earlier code)"
    return f"{job.label}, seed {seed}: valid recall@20 {valid:.4f}{note}"


def main() -> None:
    """Make a table."""
    options = options_of(sys.argv[1:])
    everybody = [*options.split]
    if options.epochs:
        everybody.append(f"optim.max_epochs={options.epochs}")
    bench = open_bench(
        options.data,
        options.results,
        tuple(everybody),
        ours=tuple(options.ours),
        rivals=tuple((name, assignment) for name, assignment in options.rival),
        threads=options.threads,
        device=options.device,
    )
    jobs = TABLES[options.table](list(bench.dataset.modalities))
    runs = run_all(jobs, options, bench)
    to_choose = options.table == "grid"  # a look at test would be a choice on test
    table = rows(jobs, runs, ("valid",) if to_choose else ("valid", "test"))
    figure = None
    if options.table == "missing":
        figure = options.out.with_suffix(".svg").name
        options.out.parent.mkdir(parents=True, exist_ok=True)
        draw(table, jobs, options.out.with_suffix(".svg"))
    title = ", ".join([f"{TITLES[options.table]}: {options.data.resolve().name}", *options.ours])
    chosen = "Every fit stops on valid recall@20 and keeps its best epoch."
    write(options.out, title, table, runs, options.data, bench, chosen, figure)


if __name__ == "__main__":
    main()
