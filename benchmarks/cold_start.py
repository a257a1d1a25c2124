"""What the encoders are worth: items and users that were not there when the model was fitted.

    python benchmarks/cold_start.py items --data DIR --seeds 0 1 2 --out docs/results/NAME.json
    python benchmarks/cold_start.py users --data DIR --seeds 0 1 2 --out docs/results/NAME.json

items: a tenth of the items is held out for validation and a tenth for the test, entirely; a model
is fitted without them and `item_encoder.onnx` gives them vectors. For the users of their test
interactions, recall@20 among the held-out items alone and among all. How much is added to the
scores of new items is chosen on those held out for validation: as much as leaves warm items 0.98 of
their valid recall@20. Raw k-NN is measured alone, and in the encoder's place: DRepMRec's scores for
warm items and k-NN's for new ones, brought to the same mean and spread and raised by the same rule.
What the best new item finds in the last of 20 places, and what warm items lose there, says how much
there is to gain within that share.

users: a fifth of the users with train and test items is held out entirely; `user_encoder.onnx`
makes them vectors from at most 1, 3 and 5 of their items, drawn by the seed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cold_start_page import page
from holdouts import columns, without_items, without_users
from machine import hardware
from numpy.typing import NDArray
from provenance import command, versions
from torch import Tensor
from torch.nn import functional as F

from bundle.csr import Csr
from bundle.loading import Bundle
from bundle.store import BundleStore
from training.baselines import item_cf, popularity
from training.config import FitConfig, RunOptions, load_config
from training.dataset import Dataset
from training.export import make_contents
from training.fit import fit
from training.ranking import evaluate_scores, inner_products
from training.split import Split, make_split

Score = Callable[[NDArray[np.int64]], Tensor]
METRIC = "recall@20"
BOOSTS = (-2.0, 2.0)
"""What may be added to the scores of new items at least and at most: scores differ by no more."""
HALVINGS = 12
WARM_SHARE = 0.98
HISTORIES = (1, 3, 5)


def fitted(dataset: Dataset, split: Split, config: FitConfig, run: RunOptions) -> Bundle:
    """A bundle, written and opened as the service opens it."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        model, progress = fit(
            split, dataset.modalities, dataset.fingerprint, config, run, root / "run"
        )
        store = BundleStore(root / "store")
        store.publish(make_contents(model, progress, dataset, split, config, run, None))
        return store.load()  # its files stay mapped


def side_by_side(warm: Score, new: Score) -> Score:
    """Scores of warm items, then of new ones."""
    return lambda users: torch.cat([warm(users), new(users)], 1)


def nothing(n_rows: int, n_cols: int) -> Csr:
    """No interactions at all."""
    return Csr(np.zeros(n_rows + 1, np.int64), np.empty(0, np.int32), n_cols)


def beside(warm: Csr, new: Csr) -> Csr:
    """Interactions with warm items, then with new ones."""
    rows, cols = (
        np.concatenate(pair)
        for pair in zip(warm.pairs(), (new.pairs()[0], new.pairs()[1] + warm.n_cols), strict=True)
    )
    return Csr.from_pairs(rows, cols, warm.n_rows, warm.n_cols + new.n_cols)


class NewItems:
    """Held-out items, ranked for the users who took them.

    Args:
        warm: the split without held-out items.
        relevant: users × held-out items, of the users who have warm train items.
        part: `valid` or `test` of the warm items.
    """

    def __init__(self, warm: Split, relevant: Csr, part: str) -> None:
        self.relevant = relevant
        self._train, self._warm = warm.train, getattr(warm, part)
        self._empty = nothing(relevant.n_rows, relevant.n_cols)
        self._all = beside(nothing(relevant.n_rows, warm.train.n_cols), relevant)
        self._masked = beside(warm.train, self._empty)
        self._warm_wide = beside(self._warm, self._empty)

    def metrics(self, warm: Score, new: Score) -> dict[str, float]:
        """Recall of new items among themselves and among all; of warm items without and with."""
        everything = side_by_side(warm, new)
        return {
            "among_new": evaluate_scores(new, self.relevant, self._empty)[METRIC],
            "among_all": evaluate_scores(everything, self._all, self._masked)[METRIC],
            "warm_alone": self.warm_alone(warm),
            "warm": self.warm_beside(warm, new),
        }

    def warm_alone(self, warm: Score) -> float:
        """Recall of warm items among themselves."""
        return evaluate_scores(warm, self._warm, self._train)[METRIC]

    def warm_beside(self, warm: Score, new: Score) -> float:
        """Recall of warm items among all."""
        return evaluate_scores(side_by_side(warm, new), self._warm_wide, self._masked)[METRIC]

    def last_place(self, warm: Score, new: Score) -> dict[str, float]:
        """As `metrics` where the best new item takes the last of the 20 places of each user."""
        of_new = evaluate_scores(new, self.relevant, self._empty, (1, 20))
        of_warm = evaluate_scores(warm, self._warm, self._train, (19, 20))
        return {
            "among_new": of_new[METRIC],
            "among_all": of_new["recall@1"],
            "warm_alone": of_warm[METRIC],
            "warm": of_warm["recall@19"],
        }


def moments(scores: Tensor) -> tuple[float, float]:
    """Mean and standard deviation."""
    return float(scores.mean()), float(scores.std())


def shifted(score: Score, scale: float, offset: float) -> Score:
    """Scores after an affine map, scale · score + offset."""
    return lambda users: score(users) * scale + offset


def profiles(dataset: Dataset, train: Csr) -> Tensor:
    """Raw k-NN: the mean of the unit features of a user's items, [U, ΣF_m]."""
    content = unit_features(dataset)
    rows, cols = (torch.from_numpy(x).long() for x in train.pairs())
    total = torch.zeros(train.n_rows, content.shape[1]).index_add_(0, rows, content[cols])
    return total / torch.from_numpy(train.lengths).clamp_min(1).unsqueeze(1)


def unit_features(dataset: Dataset) -> Tensor:
    """Of all modalities side by side, [I, ΣF_m]; an inner product sums their cosines."""
    parts = [torch.from_numpy(m.features) for m in dataset.modalities.values()]
    return torch.cat([F.normalize(x, dim=1) for x in parts], 1)


def new_items(dataset: Dataset, split: Split, config: FitConfig, run: RunOptions) -> dict[str, Any]:
    """One seed of `items`."""
    order = np.random.default_rng(run.seed).permutation(len(dataset.items))
    tenth = len(order) // 10
    held = {"valid": order[:tenth], "test": order[tenth : 2 * tenth]}
    kept = np.sort(order[2 * tenth :])
    warm_data, warm = without_items(dataset, split, kept)
    bundle = fitted(warm_data, warm, config, run)
    unknown = warm.train.lengths == 0
    worlds = {
        part: NewItems(warm, without_users(columns(getattr(split, part), items), unknown), part)
        for part, items in held.items()
    }
    users, warm_items = (
        torch.from_numpy(np.array(x)) for x in (bundle.user_vectors, bundle.item_vectors)
    )
    names = list(bundle.manifest.modalities)
    chosen = [dataset.modalities[name] for name in names]
    encoded = {
        part: torch.from_numpy(
            bundle.item_encoder.encode(
                {n: m.features[items] for n, m in zip(names, chosen, strict=True)},
                np.stack([m.present[items] for m in chosen], 1),
            )
        )
        for part, items in held.items()
    }

    content, taste = unit_features(dataset), profiles(warm_data, warm.train)
    known = inner_products(users, warm_items)
    ours = {part: inner_products(users, vectors) for part, vectors in encoded.items()}
    nearest = {part: inner_products(taste, content[items]) for part, items in held.items()}
    asked = np.flatnonzero(worlds["valid"].relevant.lengths)
    mean, spread = moments(ours["valid"](asked))
    raw_mean, raw_spread = moments(nearest["valid"](asked))
    scaled = {
        part: shifted(score, spread / raw_spread, mean - raw_mean * spread / raw_spread)
        for part, score in nearest.items()
    }

    def raised(new: dict[str, Score], part: str, boost: float) -> dict[str, float]:
        return worlds[part].metrics(known, shifted(new[part], 1.0, boost))

    enough = WARM_SHARE * worlds["valid"].warm_alone(known)

    def highest(new: Score) -> float:
        low, high = BOOSTS  # the higher, the fewer known items are left among the first
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            left = worlds["valid"].warm_beside(known, shifted(new, 1.0, middle))
            low, high = (middle, high) if left >= enough else (low, middle)
        return low

    boost, boost_of_nearest = highest(ours["valid"]), highest(scaled["valid"])
    n_new = len(held["test"])
    return {
        "seed": run.seed,
        "boost": boost,
        "boost of k-NN": boost_of_nearest,
        "pairs": int(worlds["test"].relevant.nnz),
        "valid": raised(ours, "valid", boost),
        "DRepMRec": raised(ours, "test", boost),
        "DRepMRec, nothing added": raised(ours, "test", 0.0),
        "DRepMRec, the last place for a new item": worlds["test"].last_place(known, ours["test"]),
        "DRepMRec, raw k-NN for new items": raised(scaled, "test", boost_of_nearest),
        "raw k-NN": worlds["test"].metrics(inner_products(taste, content[kept]), nearest["test"]),
        # Nobody has taken a new item: among themselves all are equal, among all they are last.
        "popularity": {"among_new": min(20 / n_new, 1.0), "among_all": 0.0},
    }


def new_users(dataset: Dataset, split: Split, config: FitConfig, run: RunOptions) -> dict[str, Any]:
    """One seed of `users`."""
    rng = np.random.default_rng(run.seed)
    eligible = np.flatnonzero((split.train.lengths > 0) & (split.test.lengths > 0))
    held = np.zeros(len(dataset.users), np.bool_)
    held[rng.permutation(eligible)[: max(len(eligible) // 5, 1)]] = True
    relevant = without_users(split.test, ~held)

    def recall(score: Score) -> float:
        return evaluate_scores(score, relevant, split.train)[METRIC]

    everybody = fitted(dataset, split, config, run)
    vectors = (
        torch.from_numpy(np.array(x)) for x in (everybody.user_vectors, everybody.item_vectors)
    )
    found: dict[str, Any] = {
        "seed": run.seed,
        "users": int(held.sum()),
        "trained": recall(inner_products(*vectors)),
        "popularity": recall(popularity(split.train)),
    }
    parts = {n: without_users(getattr(split, n), held) for n in ("train", "valid", "test")}
    others = Split(**parts, how=split.how)
    bundle = fitted(dataset, others, config, run)
    items = np.array(bundle.item_vectors)
    histories = {user: rng.permutation(split.train.row(user)) for user in np.flatnonzero(held)}
    rows, cols = others.train.pairs()
    for length in HISTORIES:
        folded = torch.zeros(len(dataset.users), items.shape[1])
        for user, history in histories.items():
            known = items[history[:length]][None]
            ones = np.ones(known.shape[:2], np.float32)
            encoded = bundle.user_encoder.encode(known, ones > 0, ones)
            folded[user] = torch.from_numpy(encoded[0])
        pairs = [(user, item) for user, history in histories.items() for item in history[:length]]
        more_rows, more_cols = np.array(pairs, np.int64).T
        train = Csr.from_pairs(
            np.append(rows, more_rows), np.append(cols, more_cols), len(held), len(items)
        )
        found[f"folded in from at most {length}"] = recall(
            inner_products(folded, torch.from_numpy(items))
        )
        found[f"item k-NN from at most {length}"] = recall(item_cf(train))
    return found


def main() -> None:
    """Make a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=["items", "users"])
    add("--data", type=Path, required=True, help="folder with interactions and features")
    add("--out", type=Path, required=True, help="JSON file; the page is beside it")
    add(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of fits and held-out parts [0 1 2]"
    )
    add("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    add("--threads", type=int, default=0, help="CPU threads; 0: as many as torch finds")
    options = parser.parse_args()
    config = load_config(None, options.assignments)
    dataset = Dataset.read(options.data)
    split = make_split(dataset, config.split, np.random.default_rng(config.split.seed))
    one_seed = new_items if options.what == "items" else new_users
    runs = []
    for seed in options.seeds:
        runs.append(
            one_seed(dataset, split, config, RunOptions(seed=seed, threads=options.threads))
        )
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    name = options.data.resolve().name
    about = {"data": name, "hardware": hardware(), "versions": versions()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(about | {"runs": runs}, indent=1) + "\n")
    found = ", ".join(f"{key} {value}" for key, value in versions().items())
    how = [
        f"Mean ± sd of seeds {options.seeds}.",
        "",
        f"`{command(options.data)}`",
        "",
        f"{hardware()}; {found}",
    ]
    text = page(f"New {options.what}: {name}", options.what, runs, how)
    options.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
