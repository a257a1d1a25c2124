"""Weights where modalities share columns, against NumPy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.format.manifest import POPULARITY, Part
from bundle.format.reader import Bundle
from bundle.search.options import RankingOptions, search_options
from bundle.search.recommender import Recommender
from bundle.search.reweighting import is_by_columns, search_by_parts, weighted_query
from bundle.store.store import BundleStore
from bundle.types import NO_ITEMS
from tests.support.data.bundles import make_contents


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
    catalogue, parts = recommender.catalogue, shared_columns.manifest.parts
    options = search_options(catalogue, RankingOptions(weights="image:3,behaviour:0.5"), 10)
    weights = options.weights
    assert weights == (0.5, 3.0, 1.0)
    assert not is_by_columns(parts, weights)
    user = np.asarray(shared_columns.user_vectors[0])
    blocks = np.split(shared_columns.item_parts, 3, axis=1)
    expected = 0.5 * blocks[0] @ user[:8] + (3 * blocks[1] + blocks[2]) @ user[8:]
    excluded = np.array([3, 7], np.int32)
    expected[excluded] = -np.inf
    top = recommender.run(user, options._replace(excluded=excluded))
    np.testing.assert_array_equal(top.item_idx, np.argsort(-expected)[:10])
    np.testing.assert_allclose(top.scores, np.sort(expected)[::-1][:10], atol=1e-5)
    few = recommender.run(user, options._replace(allowed=np.array([5, 9], np.int32)))
    assert sorted(few.item_idx.tolist()) == [5, 9]


def test_equal_factors_of_shared_columns_scale_the_query(shared_columns: Bundle) -> None:
    recommender = Recommender(shared_columns)
    catalogue, parts = recommender.catalogue, shared_columns.manifest.parts
    options = search_options(catalogue, RankingOptions(weights="image:2,text:2"), 10)
    assert options.weights == (1.0, 2.0, 2.0)
    assert is_by_columns(parts, options.weights)
    user = np.asarray(shared_columns.user_vectors[0])
    query = weighted_query(parts, user, options.weights)
    np.testing.assert_allclose(query, np.concatenate([user[:8], 2 * user[8:]]))
    by_query = recommender.run(user, options)
    by_parts = search_by_parts(catalogue, user, options.weights, 10, NO_ITEMS, None)
    np.testing.assert_array_equal(by_query.item_idx, by_parts.item_idx)


def test_popularity_is_a_part_with_a_weight(tmp_path: Path) -> None:
    contents = make_contents(50, 200, 16, rng=np.random.default_rng(4))
    last = contents.parts[-1].model_copy(update={"name": POPULARITY})
    parts = [*contents.parts[:-1], last]
    BundleStore(tmp_path).publish(replace(contents, parts=parts))
    recommender = Recommender(BundleStore(tmp_path).load())
    vector = contents.user_vectors[3]
    options = search_options(recommender.catalogue, RankingOptions(weights="popularity:0"), 10)
    scores = contents.item_vectors[:, : last.start] @ vector[: last.start]
    found = recommender.run(vector, options)
    np.testing.assert_array_equal(found.item_idx, np.argsort(-scores, kind="stable")[:10])
