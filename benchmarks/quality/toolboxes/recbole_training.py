"""Trains a RecBole model; runs in RecBole's environment and imports nothing of this project.

    python recbole_training.py train.npz out.npz '{"model": "LightGCN", "options": {}, "seed": 0,
        "vectors": true}'

train.npz: user_idx, item_idx [nnz], valid_user_idx, valid_item_idx, shape [2], asked [n]. out.npz:
scores [n, I] of the users in `asked`, UNKNOWN for users and items that RecBole does not know;
seconds of the whole fit; seconds and epochs until the best recall@20 on valid.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

UNKNOWN = -1e9
"""Score below all others."""
USERS_AT_ONCE = 256
"""Users of one block of scores; it bounds memory."""


def configuration(folder: Path, job: dict[str, Any]) -> Config:
    """RecBole's configuration: our split, and a full ranking of valid after each epoch."""
    return Config(
        model=job["model"],
        dataset=folder.name,
        config_dict={
            "data_path": str(folder.parent),
            "benchmark_filename": ["train", "valid", "valid"],  # test stays with the caller
            "load_col": {"inter": ["user_id", "item_id"]},
            "eval_args": {"group_by": "user", "order": "RO", "mode": "full"},
            "metrics": ["Recall", "NDCG"],
            "topk": [20],
            "valid_metric": "Recall@20",
            "train_batch_size": 2048,
            "eval_batch_size": 1_000_000,
            "seed": job["seed"],
            "use_gpu": False,
            "checkpoint_dir": str(folder),
            "show_progress": False,
            **job["options"],
        },
    )


def write_interactions(given: dict[str, Any], folder: Path) -> None:
    """Write the interaction files that RecBole reads."""
    folder.mkdir()
    for part, prefix in (("train", ""), ("valid", "valid_")):
        pairs = np.stack([given[f"{prefix}user_idx"], given[f"{prefix}item_idx"]], 1)
        head = "user_id:token\titem_id:token"
        file = folder / f"{folder.name}.{part}.inter"
        np.savetxt(file, pairs, "%d", delimiter="\t", header=head, comments="")


@torch.no_grad()
def scores(model: Any, dataset: Any, given: dict[str, Any]) -> np.ndarray:
    """Scores [n, I] of all items for the users in `asked`, in our numbering."""
    model.eval()
    tokens = dataset.id2token("item_id", np.arange(1, dataset.item_num)).astype(int)
    found = np.full((len(given["asked"]), given["shape"][1]), UNKNOWN, np.float32)
    numbers = {int(token): n for token, n in dataset.field2token_id["user_id"].items() if n}
    places = np.array([place for place, user in enumerate(given["asked"]) if int(user) in numbers])
    for block in np.array_split(places, len(places) // USERS_AT_ONCE + 1):
        users = torch.tensor([numbers[int(user)] for user in given["asked"][block]])
        answer = model.full_sort_predict(Interaction({"user_id": users}))
        of_items = answer.view(len(block), dataset.item_num)[:, 1:]
        found[np.ix_(block, tokens)] = of_items.numpy()
    return found


def main() -> None:
    """Train one model and write its scores."""
    source, target, job = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    given = dict(np.load(source))
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "data"
        write_interactions(given, folder)
        config = configuration(folder, job)
        init_seed(config["seed"], reproducibility=True)
        dataset = create_dataset(config)
        train_data, valid_data, _ = data_preparation(config, dataset)
        started, best, marks = time.perf_counter(), -1.0, [0.0]
        best_epoch = 0

        def after_epoch(epoch: int, valid_score: float) -> None:
            nonlocal best, best_epoch
            marks.append(time.perf_counter() - started)
            if valid_score > best:
                best, best_epoch = valid_score, epoch + 1

        model = get_model(config["model"])(config, train_data.dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        trainer.fit(train_data, valid_data, show_progress=False, callback_fn=after_epoch)
        seconds = time.perf_counter() - started
        kept = torch.load(trainer.saved_model_file, weights_only=False)
        model.load_state_dict(kept["state_dict"])
        model.load_other_parameter(kept.get("other_parameter"))
        np.savez(
            target,
            seconds=seconds,
            version=recbole.__version__,
            width=config["embedding_size"] if job["vectors"] else 0,
            best_seconds=marks[best_epoch],
            best_epoch=best_epoch,
            best_valid=best,
            epochs=len(marks) - 1,
            asked=given["asked"],
            scores=scores(model, dataset, given),
        )


if __name__ == "__main__":
    main()
