"""Weights where modalities share columns, against NumPy."""

from pathlib import Path

import numpy as np
import pytest
from bundle_builders import make_contents

from bundle.loading import Bundle
from bundle.manifest import Part
from bundle.overlay import NO_ITEMS
from bundle.recommender import Recommender
from bundle.steering import is_by_columns, part_weights, search_by_parts, weighted_query
from bundle.store import BundleStore


@pytest.fixture
def shared_columns(tmp_path: Path) -> Bundle:
    """Behaviour has 8 columns, image and text add to the other 8 together."""
    rng = np.random.default_rng(3)
    contents = make_contents(50, 200, 16, rng=rng)
    parts = [
        Part(name="behaviour", start=0, stop=8),
        Part(name="image", start=8, stop=16),
        Part(name="text", start=8, stop=16),
    ]
    image = rng.standard_normal((200, 8)).astype(np.float32)
    behaviour, modal = contents.item_vectors[:, :8], contents.item_vectors[:, 8:]
    item_parts = np.hstack([behaviour, image, modal - image])
    shared = {**vars(contents), "parts": parts, "item_parts": item_parts}
    BundleStore(tmp_path).publish(type(contents)(**shared))
    return BundleStore(tmp_path).load()


def test_a_modality_is_weighted_by_what_it_adds(shared_columns: Bundle) -> None:
    recommender = Recommender(shared_columns)
    factors = part_weights(recommender, {"image": 3.0, "behaviour": 0.5})
    assert factors == [0.5, 3.0, 1.0]
    assert not is_by_columns(recommender, factors)
    user = np.asarray(shared_columns.user_vectors[0])
    blocks = np.split(shared_columns.item_parts, 3, axis=1)
    expected = 0.5 * blocks[0] @ user[:8] + (3 * blocks[1] + blocks[2]) @ user[8:]
    excluded = np.array([3, 7], np.int32)
    expected[excluded] = -np.inf
    top = search_by_parts(recommender, user, factors, 10, excluded, None)
    np.testing.assert_array_equal(top.item_idx, np.argsort(-expected)[:10])
    np.testing.assert_allclose(top.scores, np.sort(expected)[::-1][:10], atol=1e-5)
    few = search_by_parts(recommender, user, factors, 10, NO_ITEMS, np.array([5, 9], np.int32))
    assert sorted(few.item_idx.tolist()) == [5, 9]


def test_equal_factors_of_shared_columns_scale_the_query(shared_columns: Bundle) -> None:
    recommender = Recommender(shared_columns)
    factors = part_weights(recommender, {"image": 2.0, "text": 2.0})
    assert is_by_columns(recommender, factors)
    user = np.asarray(shared_columns.user_vectors[0])
    query = weighted_query(recommender, user, factors)
    np.testing.assert_allclose(query, np.concatenate([user[:8], 2 * user[8:]]))
    by_query = recommender.search(query[None], 10, [NO_ITEMS])[0]
    by_parts = search_by_parts(recommender, user, factors, 10, NO_ITEMS, None)
    np.testing.assert_array_equal(by_query.item_idx, by_parts.item_idx)
