"""Models of public toolboxes, Cornac and RecBole, on our split and by our metrics.

    python3.11 -m venv CORNAC && CORNAC/bin/pip install cornac==3.0.1 torch
    python3.11 -m venv RECBOLE && RECBOLE/bin/pip install recbole==1.2.1 torch \
        'numpy<2' 'pandas<2.2' 'scipy<1.11'
    python benchmarks/toolbox.py cornac --python CORNAC/bin/python --data DIR --out FILE.json
    python benchmarks/toolbox.py recbole --python RECBOLE/bin/python --data DIR --out FILE.json

A toolbox has an environment of its own, so that our pins do not meet its. It gets train
interactions, and Cornac unit features, all modalities side by side (VBPR); RecBole gets those of
valid, too, for its own early stopping. It returns vectors or scores; ranking, masking, ties and
metrics are ours. Options are chosen on valid with the first seed. Cornac's LightGCN needs DGL, and
the one that pip finds (2.1.0) cannot be imported beside the torchdata that it finds.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import hardware
from provenance import versions
from quality_jobs import Job
from quality_pages import open_bench, write
from quality_report import Runs, rows
from quality_runs import KEPT, Bench, Score
from torch.nn import functional as F

from training.ranking import evaluate_scores, evaluate_users, inner_products

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
"""What is tried, by toolbox and model."""
WITHOUT_CHANCE = {"EASE", "ItemKNN"}
WITH_FEATURES = {"VBPR"}
TITLES = {"cornac": "Cornac", "recbole": "RecBole"}


def write_train(bench: Bench, file: Path) -> None:
    """What a toolbox gets."""
    split, modalities = bench.split, bench.dataset.modalities.values()
    user_idx, item_idx = split.train.pairs()
    valid_user_idx, valid_item_idx = split.valid.pairs()
    features = [F.normalize(torch.from_numpy(m.features), dim=1).numpy() for m in modalities]
    np.savez(
        file,
        user_idx=user_idx.astype(np.int64),
        item_idx=item_idx.astype(np.int64),
        valid_user_idx=valid_user_idx.astype(np.int64),
        valid_item_idx=valid_item_idx.astype(np.int64),
        shape=np.array([split.train.n_rows, split.train.n_cols]),
        features=np.concatenate(features, 1),
        asked=np.flatnonzero(split.valid.lengths + split.test.lengths),
    )


def train(toolbox: str, python: Path, source: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Train in the toolbox's environment; what its script writes."""
    target = source.with_name("out.npz")
    script = Path(__file__).resolve().with_name(f"toolbox_{toolbox}.py")
    command = [str(python.absolute()), str(script), str(source), str(target), json.dumps(job)]
    # RecBole leaves TensorBoard's files wherever it is.
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=source.parent)
    return dict(np.load(target))


def score_of(out: dict[str, Any]) -> Score:
    """How a trained model scores."""
    if "users" in out:
        return inner_products(torch.from_numpy(out["users"]), torch.from_numpy(out["items"]))
    scores, asked = torch.from_numpy(out["scores"]), out["asked"]
    return lambda users: scores[np.searchsorted(asked, users)].clone()


def fitted(
    options: argparse.Namespace, bench: Bench, source: Path, name: str, own: Any, seed: int
) -> dict[str, Any]:
    """A run as benchmarks/quality.py has them."""
    job = {"model": name, "options": own, "seed": seed, "vectors": name not in WITHOUT_CHANCE}
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("toolbox", choices=list(GRIDS))
    add("--python", type=Path, required=True, help="of the environment that has the toolbox")
    add("--data", type=Path, required=True, help="folder with interactions and features")
    add("--out", type=Path, required=True, help="JSON file; the page is beside it")
    add("--models", nargs="+", help="some of the toolbox's models")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the fits [0 1 2]")
    add("--options", type=int, help="at most so many of each model, to try the script out")
    options = parser.parse_args()
    grids = GRIDS[options.toolbox]
    if unknown := set(options.models or ()) - set(grids):
        parser.error(f"{', '.join(unknown)}: {options.toolbox} has {', '.join(grids)} here")
    bench = open_bench(options.data, options.out.parent)
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
            others = [] if name in WITHOUT_CHANCE else options.seeds[1:]
            job = Job(f"{TITLES[options.toolbox]} {name}", best["model"])
            jobs.append(job)
            runs[job.label] = [best] + [
                fitted(options, bench, source, name, best["settings"], seed) for seed in others
            ]
    title = f"Models of {TITLES[options.toolbox]}: {options.data.resolve().name}"
    chosen = "Options, epochs among them, were chosen on valid recall@20 with the first seed."
    write(options.out, title, rows(jobs, runs), runs, options.data, bench, chosen)


if __name__ == "__main__":
    main()
