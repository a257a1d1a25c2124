"""Exchange with a toolbox's environment as .npz files: train data out, vectors or scores back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.quality.bench import Bench
from training.fitting.ranking import Score, inner_products


def write_train(bench: Bench, file: Path) -> None:
    """Write the training data of a toolbox: interactions, unit features, users to score."""
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
    """Train a model in the toolbox's environment and return what its script writes.

    Args:
        toolbox: `cornac` or `recbole`.
        python: of the environment.
        source: the file of `write_train`.
        job: model, options, seed, and whether vectors are wanted; passed to the script as JSON.
    """
    target = source.with_name("out.npz")
    script = Path(__file__).resolve().with_name(f"{toolbox}_training.py")
    command = [str(python.absolute()), str(script), str(source), str(target), json.dumps(job)]
    # RecBole writes TensorBoard files to the working directory.
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=source.parent)
    return dict(np.load(target))


def score_of(out: dict[str, Any]) -> Score:
    """Scores of a trained model, from its vectors or as they are."""
    if "users" in out:
        return inner_products(torch.from_numpy(out["users"]), torch.from_numpy(out["items"]))
    scores, asked = torch.from_numpy(out["scores"]), out["asked"]
    return lambda users: scores[np.searchsorted(asked, users)].clone()
