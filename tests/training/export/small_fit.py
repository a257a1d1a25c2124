"""A short fit to planted data, published."""

from pathlib import Path

import numpy as np

from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from models.drepmrec import DRepMRec
from training.data.dataset import Dataset
from training.data.split import Split, make_split
from training.export.export import make_contents
from training.fitting.config import RunOptions, load_config
from training.fitting.trainer import fit_model

OPTIONS = [
    "model.dim=8",
    "model.negatives=32",
    "optim.batch_size=64",
    "optim.learning_rate=0.02",
    "optim.max_epochs=25",
]
PARTS = ["behaviour", "image", "text", "popularity"]


def publish(dataset: Dataset, directory: Path, *more: str) -> tuple[Bundle, Split, DRepMRec]:
    config = load_config(None, [*OPTIONS, *more])
    split = make_split(dataset, config.split, np.random.default_rng(0))
    run = RunOptions()
    model, progress = fit_model(
        split, dataset.modalities, dataset.fingerprint, config, run, directory / "run"
    )
    store = BundleStore(directory / "store")
    store.publish(make_contents(model, progress, dataset, split, config, run, None))
    return store.load(), split, model
