"""Trains Cornac's BPR and saves it for `cornac.serving`; runs in Cornac's environment.

    PYTHON cornac_serving.py PAIRS.npz FOLDER

PAIRS.npz: `users` and `items`, ids as strings, [n] each. One round of training: the model's quality
does not change how fast it is served.
"""

import sys
from pathlib import Path

import numpy as np
from cornac.data import Dataset
from cornac.models import BPR


def main() -> None:
    """Train, save, and print the path of the model as the last line."""
    pairs = np.load(sys.argv[1])
    triples = zip(pairs["users"].tolist(), pairs["items"].tolist(), strict=True)
    data = Dataset.from_uir([(user, item, 1.0) for user, item in triples], seed=0)
    model = BPR(k=64, max_iter=1, seed=0, verbose=False)
    model.fit(data)
    model.save(sys.argv[2], save_trainset=True)
    print(next(Path(sys.argv[2]).rglob("*.pkl")))


if __name__ == "__main__":
    main()
