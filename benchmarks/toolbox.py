"""Models of Cornac, a public toolbox, on our split and by our metrics.

    python3.11 -m venv CORNAC && CORNAC/bin/pip install cornac==3.0.1 torch
    python benchmarks/toolbox.py --python CORNAC/bin/python --data DIR --out docs/results/NAME.json

Cornac has an environment of its own, so that our pins do not meet its. It gets train interactions
and unit features, all modalities side by side (VBPR), and returns vectors or scores; ranking,
masking, ties and metrics are ours. Options are chosen on valid with the first seed. Its LightGCN
needs DGL, and the one that pip finds (2.1.0) cannot be imported beside the torchdata that it finds.
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

GRIDS: dict[str, dict[str, list[Any]]] = {
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
}
WITHOUT_CHANCE = {"EASE"}


def write_train(bench: Bench, file: Path) -> None:
    """What Cornac gets."""
    split, modalities = bench.split, bench.dataset.modalities.values()
    user_idx, item_idx = split.train.pairs()
    features = [F.normalize(torch.from_numpy(m.features), dim=1).numpy() for m in modalities]
    np.savez(
        file,
        user_idx=user_idx.astype(np.int64),
        item_idx=item_idx.astype(np.int64),
        shape=np.array([split.train.n_rows, split.train.n_cols]),
        features=np.concatenate(features, 1),
        asked=np.flatnonzero(split.valid.lengths + split.test.lengths),
    )


def train(python: Path, source: Path, job: dict[str, Any]) -> tuple[Score, dict[str, Any]]:
    """Train in Cornac's environment; its scores, and what is known of the run."""
    target = source.with_name("out.npz")
    script = Path(__file__).with_name("toolbox_cornac.py")
    command = [str(python), str(script), str(source), str(target), json.dumps(job)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    out = dict(np.load(target))
    found = {"seconds": float(out["seconds"]), "cornac": str(out["cornac"])}
    if "users" in out:
        users, items = torch.from_numpy(out["users"]), torch.from_numpy(out["items"])
        return inner_products(users, items), found | {"width": items.shape[1]}
    scores, asked = torch.from_numpy(out["scores"]), out["asked"]
    return lambda users: scores[np.searchsorted(asked, users)].clone(), found


def fitted(
    python: Path, bench: Bench, source: Path, name: str, own: dict[str, Any], seed: int
) -> dict[str, Any]:
    """A run as benchmarks/quality.py has them."""
    job = {"model": name, "options": own, "seed": seed, "vectors": name not in WITHOUT_CHANCE}
    score, found = train(python, source, job)
    split = bench.split
    users = evaluate_users(score, split.test, split.train)
    return {
        "model": f"cornac:{name}",
        "config": {"model": {}},
        "settings": own,
        "modalities": list(bench.dataset.modalities) if name == "VBPR" else [],
        "lost": 0.0,
        "seed": seed,
        "valid": evaluate_scores(score, split.valid, split.train),
        "test": evaluate_scores(score, split.test, split.train),
        "users": {metric: users[metric].tolist() for metric in KEPT},
        "epochs": own.get("max_iter", own.get("n_epochs", 0)),
        "seconds": found["seconds"],
        "width": found.get("width"),
        "versions": versions() | {"cornac": found["cornac"]},
        "hardware": hardware(),
    }


def main() -> None:
    """Choose each model's options on valid, then measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--python", type=Path, required=True, help="of the environment that has Cornac")
    add("--data", type=Path, required=True, help="folder with interactions and features")
    add("--out", type=Path, required=True, help="JSON file; the page is beside it")
    add("--models", nargs="+", choices=list(GRIDS), default=list(GRIDS), help="of Cornac")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the fits [0 1 2]")
    add("--options", type=int, help="at most so many of each model, to try the script out")
    options = parser.parse_args()
    bench = open_bench(options.data, options.out.parent)
    runs: Runs = {}
    jobs = []
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "train.npz"
        write_train(bench, source)
        for name in options.models:
            grid = GRIDS[name]
            choices = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
            tried = []
            for own in choices[: options.options]:
                tried.append(fitted(options.python, bench, source, name, own, options.seeds[0]))
                valid = tried[-1]["valid"]["recall@20"]
                print(f"{name} {own}: valid recall@20 {valid:.4f}", file=sys.stderr, flush=True)
            best = max(tried, key=lambda run: run["valid"]["recall@20"])
            others = [] if name in WITHOUT_CHANCE else options.seeds[1:]
            job = Job(f"Cornac {name}", best["model"])
            jobs.append(job)
            runs[job.label] = [best] + [
                fitted(options.python, bench, source, name, best["settings"], seed)
                for seed in others
            ]
    title = f"Models of Cornac: {options.data.resolve().name}"
    chosen = "Options, epochs among them, were chosen on valid recall@20 with the first seed."
    write(options.out, title, rows(jobs, runs), runs, options.data, bench, chosen)


if __name__ == "__main__":
    main()
