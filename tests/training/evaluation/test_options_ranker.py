"""Evaluation with search options: an arm's rankings, measured offline."""

import numpy as np
import pytest

from bundle.format.reader import Bundle
from bundle.search.options import OptionError, RankingOptions, search_options
from bundle.search.recommender import Recommender
from tests.support.data.item_changes import publish
from training.evaluation.options_ranker import OptionsRanker

K = 20


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish(tmp_path_factory.mktemp("shop"), 300)


def test_without_options_it_is_the_search_of_a_plain_request(shop: Bundle) -> None:
    recommender = Recommender(shop)
    vectors = np.array(shop.user_vectors[:30])
    vectors[4] = 0
    seen = [shop.seen.row(user) for user in range(30)]
    ranked = OptionsRanker(recommender, None, K).rank(vectors, seen)
    plain = recommender.search(vectors, K + 1, seen)
    plain[4] = recommender.popular(K + 1, seen[4])
    for top, expected in zip(ranked, plain, strict=True):
        np.testing.assert_array_equal(top.item_idx, expected.item_idx)
        np.testing.assert_array_equal(top.scores, expected.scores)


@pytest.mark.parametrize(
    "options",
    [
        RankingOptions(filter="price < 20"),
        RankingOptions(weights="image:3"),
        RankingOptions(boost=["0.3:price < 20"], exclude_seen=False),
        RankingOptions(diversity=0.5, filter="price < 60"),
    ],
    ids=str,
)
def test_an_arm_is_ranked_as_a_request_with_its_options(
    shop: Bundle, options: RankingOptions
) -> None:
    recommender = Recommender(shop)
    users = np.flatnonzero(np.any(shop.user_vectors, axis=1))[:20]
    seen = [shop.seen.row(user) for user in users.tolist()]
    ranked = OptionsRanker(recommender, options, K).rank(np.array(shop.user_vectors[users]), seen)
    for user, top, items in zip(users.tolist(), ranked, seen, strict=True):
        excluded = items if options.exclude_seen else items[:0]
        asked = search_options(recommender.catalogue, options, K, excluded)
        served = recommender.run(np.asarray(shop.user_vectors[user]), asked)
        np.testing.assert_array_equal(top.item_idx[:K], served.item_idx)
        assert (np.diff(top.scores) <= 0).all()  # as the metrics need them, diverse ones, too
        assert len(top.item_idx) <= (K if options.diversity else K + 1)


def test_users_without_a_vector_get_popular_items_that_the_filter_allows(shop: Bundle) -> None:
    recommender = Recommender(shop)
    nobody = np.zeros((1, shop.manifest.dim), np.float32)
    options = RankingOptions(filter="price < 20", diversity=0.5)
    top = OptionsRanker(recommender, options, K).rank(nobody, [np.array([3], np.int32)])[0]
    allowed = recommender.catalogue.allowed("price < 20")
    expected = recommender.popular(K, np.array([3], np.int32), allowed)
    np.testing.assert_array_equal(top.item_idx, expected.item_idx)


def test_options_that_do_not_fit_are_refused_before_any_search(shop: Bundle) -> None:
    with pytest.raises(OptionError, match="weights: "):
        OptionsRanker(Recommender(shop), RankingOptions(weights="sound:1"), K)
