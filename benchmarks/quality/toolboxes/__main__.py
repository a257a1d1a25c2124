r"""Models of public toolboxes, Cornac and RecBole, on our split and with our metrics.

    python3.11 -m venv cornac && cornac/bin/pip install cornac==3.0.1 torch
    python3.11 -m venv recbole && recbole/bin/pip install recbole==1.2.1 torch \
        'numpy<2' 'pandas<2.2' 'scipy<1.11'
    python -m benchmarks.quality.toolboxes cornac --python cornac/bin/python \
        --data DIR --name tiktok-cornac
    python -m benchmarks.quality.toolboxes recbole --python recbole/bin/python \
        --data DIR --name tiktok-recbole

Each toolbox has an environment of its own, because its pinned packages conflict with ours. It gets
the train interactions; Cornac's VBPR also gets unit features of all modalities side by side, and
RecBole gets the valid interactions for its early stopping. It returns vectors or scores. Ranking,
masking, ties and metrics are ours. Options are chosen on valid with the first seed. Cornac's
LightGCN is left out: it needs DGL, and the version that pip finds (2.1.0) cannot be imported beside
the torchdata that pip finds.
"""

import argparse
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.environment import argument_parser, hardware, versions
from benchmarks.quality.bench import RUNS, Bench, about, open_bench
from benchmarks.quality.pages import add_options, write
from benchmarks.quality.report import Runs, numbers, rows
from benchmarks.quality.runner import KEPT
from benchmarks.quality.tables import Job
from benchmarks.quality.toolboxes.exchange import score_of, train, write_train
from training.fitting.ranking import evaluate_scores, evaluate_users

GRIDS: dict[str, dict[str, dict[str, list[Any]]]] = {
    "cornac": {
        "BPR": {
            "k": [64],
            "max_iter": [100, 400],
            "learning_rate": [0.01, 0.05],
            "lambda_reg": [0.001, 0.01],
        },
        "VBPR": {
            "k": [32],
            "k2": [32],
            "n_epochs": [20, 50],
            "batch_size": [1024],
            "learning_rate": [0.001, 0.005],
            "lambda_w": [0.01, 0.1],
        },
        "EASE": {"lamb": [100, 300, 1000], "posB": [False]},
    },
    "recbole": {
        "LightGCN": {"n_layers": [2, 3], "reg_weight": [1e-4]},
        "EASE": {"reg_weight": [100, 300, 1000]},
        "ItemKNN": {"k": [50, 200], "shrink": [0, 10]},
    },
}
"""Options that are tried, by toolbox and model."""
WITHOUT_RANDOMNESS = {"EASE", "ItemKNN"}
WITH_FEATURES = {"VBPR"}
TITLES = {"cornac": "Cornac", "recbole": "RecBole"}


def fitted(
    options: argparse.Namespace, bench: Bench, source: Path, name: str, own: Any, seed: int
) -> dict[str, Any]:
    """A run with the fields of a table's runs.

    Args:
        options: the parsed command line.
        bench: data and split.
        source: the file of `write_train`.
        name: of the toolbox's model.
        own: the model's options.
        seed: of the fit.
    """
    job = {"model": name, "options": own, "seed": seed, "vectors": name not in WITHOUT_RANDOMNESS}
    out = train(options.toolbox, options.python, source, job)
    score, split = score_of(out), bench.split
    users = evaluate_users(score, split.test, split.train)
    epochs = own.get("max_iter", own.get("n_epochs", 0))
    return {
        "model": f"{options.toolbox}:{name}",
        "config": {"model": {}},
        "settings": own,
        "modalities": list(bench.dataset.modalities) if name in WITH_FEATURES else [],
        "lost": 0.0,
        "seed": seed,
        "valid": evaluate_scores(score, split.valid, split.train),
        "test": evaluate_scores(score, split.test, split.train),
        "users": {metric: users[metric].tolist() for metric in KEPT},
        "epochs": int(out.get("epochs", epochs)),
        "seconds": float(out["seconds"]),
        "width": int(out["width"]) or None,
        "versions": versions() | {options.toolbox: str(out["version"])},
        "hardware": hardware(),
    }


def main() -> None:
    """Choose each model's options on valid, then measure."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("toolbox", choices=list(GRIDS))
    add("--python", type=Path, required=True, help="Python of the toolbox's environment")
    add("--data", type=Path, required=True, help="folder with interactions and features")
    add_options(parser)
    add("--models", nargs="+", help="models to fit [all of the toolbox]")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the fits [0 1 2]")
    add("--options", type=int, help="maximum number of options tried for each model, for a trial")
    options = parser.parse_args()
    grids = GRIDS[options.toolbox]
    if unknown := set(options.models or ()) - set(grids):
        parser.error(f"{', '.join(unknown)}: {options.toolbox} has {', '.join(grids)} here")
    bench = open_bench(options.data, RUNS)
    runs: Runs = {}
    jobs = []
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "train.npz"
        write_train(bench, source)
        for name in options.models or grids:
            grid = grids[name]
            choices = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
            tried = []
            for own in choices[: options.options]:
                tried.append(fitted(options, bench, source, name, own, options.seeds[0]))
                valid = tried[-1]["valid"]["recall@20"]
                print(f"{name} {own}: valid recall@20 {valid:.4f}", file=sys.stderr, flush=True)
            best = max(tried, key=lambda run: run["valid"]["recall@20"])
            others = [] if name in WITHOUT_RANDOMNESS else options.seeds[1:]
            job = Job(f"{TITLES[options.toolbox]} {name}", best["model"])
            jobs.append(job)
            runs[job.label] = [best] + [
                fitted(options, bench, source, name, best["settings"], seed) for seed in others
            ]
    title = f"Models of {TITLES[options.toolbox]}: {bench.name}"
    chosen = "Options, epochs among them, were chosen on valid recall@20 with the first seed."
    table = rows(jobs, runs)
    write(numbers(title, table, runs, chosen=chosen, **about(options.data, bench)), options)


if __name__ == "__main__":
    main()
