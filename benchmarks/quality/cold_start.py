"""Quality of the exported encoders for items and users that the model was not fitted on.

    python -m benchmarks.quality.cold_start items --data DIR --name tiktok-new-items
    python -m benchmarks.quality.cold_start users --data DIR --name tiktok-new-users

items: a tenth of the items is held out for validation and another tenth for the test. A model is
fitted without them, and `item_encoder.onnx` makes their vectors. For the users of their test
interactions, recall@20 is measured among the held-out items alone and among all items. A boost is
added to the scores of new items; it is chosen on the items held out for validation, as the largest
one that leaves warm items 0.98 of their valid recall@20. The reference is raw k-NN, alone and in
place of the encoder: DRepMRec's scores for warm items, k-NN's scores for new ones, scaled to the
same mean and spread and boosted by the same rule. "The last place for a new item" shows what is to
be gained at that cost: the best new item takes the last of the 20 places.

users: a fifth of the users with train and test items is held out. `user_encoder.onnx` makes their
vectors from at most 1, 3 and 5 of their items, drawn by the seed.
"""

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.environment import argument_parser, command_line, hardware, versions
from benchmarks.quality.new_items import new_items
from benchmarks.quality.new_users import new_users
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
        help="seeds of the fits and of what is held out [0 1 2]",
    )
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
    measure = new_items if options.kind == "items" else new_users
    runs = []
    for seed in options.seeds:
        run = RunOptions(seed=seed, threads=options.threads)
        runs.append(measure(dataset, split, seed, partial(fit_bundle, config=config, run=run)))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    found = {
        "kind": options.kind,
        "data": options.data.resolve().name,
        "command": command_line(options.data),
        "hardware": hardware(),
        "versions": versions(),
        "runs": runs,
    }
    write(found, options)


if __name__ == "__main__":
    main()
