"""Quality of the exported encoders for items and users that the model was not fitted on.

    python -m benchmarks.quality.cold_start items --data DIR --name tiktok-new-items
    python -m benchmarks.quality.cold_start users --data DIR --name tiktok-new-users

items: ten folds of all items; in each fold, the model is fitted without two of them, and
`item_encoder.onnx` makes their vectors. One is for choices, the other for the test, so that each
item is new once in the test. Recall of the relevant new items is measured among new items alone and
in lists of 20 of all items, where a boost of new items decides how many places known items lose to
them: it is the largest one under which known items keep 0.99, 0.98, 0.95 or 0.90 of their recall on
valid. Beside it is raw k-NN of the features, alone and in the encoder's place: DRepMRec's scores
for known items, k-NN's for new ones, scaled to the same spread and boosted by the same rule. Gains
are compared by paired bootstrap of the users.

users: a fifth of the users with train and test items is held out. `user_encoder.onnx` makes their
vectors from at most 1, 3 and 5 of their items, drawn by the seed.
"""

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import argument_parser, command_line, hardware, versions
from benchmarks.quality.cold_start.new_items import new_items
from benchmarks.quality.cold_start.new_users import new_users
from benchmarks.quality.pages import add_options, write
from bundle.format.reader import Bundle
from bundle.store.store import BundleStore
from training.data.dataset import Dataset
from training.data.load import read_dataset
from training.data.split import Split, make_split
from training.export.export import make_contents
from training.fitting.config import FitConfig, RunOptions, load_config
from training.fitting.trainer import fit_model


def fit_bundle(dataset: Dataset, split: Split, config: FitConfig, run: RunOptions) -> Bundle:
    """A fitted bundle, published to a temporary store and opened as the service opens it."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        model, progress = fit_model(
            split, dataset.modalities, dataset.fingerprint, config, run, root / "run"
        )
        store = BundleStore(root / "store")
        store.publish(make_contents(model, progress, dataset, split, config, run, None))
        return store.load()  # its files stay mapped after they are deleted


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Parsed command line."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("kind", choices=["items", "users"])
    add("--data", type=Path, required=True, help="folder with interactions and features")
    add_options(parser)
    add(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="of users: seeds of the fits and of what is held out [0 1 2]",
    )
    add("--folds", type=int, default=10, help="of items: number of folds, at least 3 [10]")
    add(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="hyper-parameter of the fits; repeatable",
    )
    add("--threads", type=int, default=0, help="CPU threads; 0 for torch's default [0]")
    return parser.parse_args(arguments)


def main() -> None:
    """Make a page."""
    options = options_of(sys.argv[1:])
    config = load_config(None, options.assignments)
    dataset = read_dataset(options.data)
    split = make_split(dataset, config.split, np.random.default_rng(config.split.seed))

    def fit(data: Dataset, parts: Split, seed: int) -> Bundle:
        return fit_bundle(data, parts, config, RunOptions(seed=seed, threads=options.threads))

    measured: dict[str, Any] = {}
    if options.kind == "items":
        measured = new_items(dataset, split, options.folds, partial(fit, seed=0))
    else:
        measured["runs"] = []
        for seed in options.seeds:
            run = new_users(dataset, split, seed, partial(fit, seed=seed))
            measured["runs"].append(run)
            print(json.dumps(run), file=sys.stderr, flush=True)
    found = {
        "kind": options.kind,
        "data": options.data.resolve().name,
        "command": command_line(options.data),
        "hardware": hardware(),
        "versions": versions(),
        **measured,
    }
    write(found, options)


if __name__ == "__main__":
    main()
