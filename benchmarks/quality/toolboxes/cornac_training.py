"""Trains a Cornac model; runs in Cornac's environment and imports nothing of this project.

    python cornac_training.py train.npz out.npz '{"model": "BPR", "options": {…}, "seed": 0}'

train.npz: user_idx, item_idx [nnz], shape [2], features [I, F], asked [n]. out.npz: users [U, D]
and items [I, D], or for models without vectors scores [n, I] of the users in `asked`; seconds,
version, width (0 without vectors).
"""

import json
import random
import sys
import time
from collections import OrderedDict
from typing import Any

import cornac
import numpy as np


def train_set(given: dict[str, Any], seed: int) -> cornac.data.Dataset:
    """Cornac's data set with our numbering, users and items without train interactions included."""
    n_users, n_items = given["shape"].tolist()
    ratings = np.ones(len(given["user_idx"]), np.float32)
    dataset = cornac.data.Dataset(
        num_users=n_users,
        num_items=n_items,
        uid_map=OrderedDict((u, u) for u in range(n_users)),
        iid_map=OrderedDict((i, i) for i in range(n_items)),
        uir_tuple=(given["user_idx"], given["item_idx"], ratings),
        seed=seed,
    )
    image = cornac.data.ImageModality(
        features=given["features"], ids=list(range(n_items)), normalized=False
    )
    image.build(id_map=dataset.iid_map)
    dataset.add_modalities(item_image=image)
    return dataset


def main() -> None:
    """Train one model and write its vectors or scores."""
    source, target, job = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    given = dict(np.load(source))
    random.seed(job["seed"])
    model = getattr(cornac.models, job["model"])(verbose=False, **job["options"])
    if hasattr(model, "seed"):
        model.seed = job["seed"]
    data = train_set(given, job["seed"])
    started = time.perf_counter()
    model.fit(data)
    seconds = time.perf_counter() - started
    about = {"seconds": seconds, "version": cornac.__version__, "width": 0}
    if job["vectors"]:
        vectors = {"users": model.get_user_vectors(), "items": model.get_item_vectors()}
        about["width"] = vectors["items"].shape[1]
        np.savez(target, **about, **{k: v.astype(np.float32) for k, v in vectors.items()})
        return
    scores = [np.asarray(model.score(u)).ravel().astype(np.float32) for u in given["asked"]]
    np.savez(target, **about, asked=given["asked"], scores=np.stack(scores))


if __name__ == "__main__":
    main()
