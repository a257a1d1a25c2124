"""Vectors of many histories are those of each history alone."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from bundle.events.history import encode_histories, fold_in
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents

USERS, ITEMS, DIM = 120, 90, 8


def test_histories_of_items_with_and_without_vectors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    store = BundleStore(tmp_path)
    store.publish(make_contents(USERS, ITEMS, DIM, rng=rng))
    bundle = store.load()
    vectors = np.array(bundle.item_vectors)
    vectors[: ITEMS // 3, 0] = 0  # a vector all the same
    vectors[ITEMS // 3 : 2 * ITEMS // 3] = 0
    lengths = rng.integers(0, 5, size=USERS)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    items = rng.integers(ITEMS, size=indptr[-1]).astype(np.int32)
    weights = rng.choice(np.array([-1, 0, 1, 2], np.float32), size=indptr[-1])
    found = encode_histories(bundle.user_encoder, vectors, indptr, items, weights)
    zeros = 0
    for user, (start, stop) in enumerate(pairwise(indptr.tolist())):
        expected = fold_in(bundle, vectors[items[start:stop]], weights[start:stop])
        zeros += expected is None
        np.testing.assert_allclose(found[user], 0 if expected is None else expected, atol=1e-6)
    assert USERS / 10 < zeros < USERS
