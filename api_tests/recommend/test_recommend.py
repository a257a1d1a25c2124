"""`GET /recommend/{user_id}`, `/similar` and `/items`, compared with NumPy."""

from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from service.schemas.items import Item
from service.schemas.recommend import Recommendations
from service.schemas.similar import SimilarItems
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import UNUSUAL_IDS, Published


def recommend(service: RunningService, user_id: str, **params: object) -> dict[str, Any]:
    response = service.get(f"/recommend/{quote(user_id, safe='')}", **params)
    assert response.status_code == 200, response.text
    Recommendations.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_known_users_get_the_items_that_numpy_ranks_first(
    service: RunningService, published: Published, exclude_seen: bool
) -> None:
    for user_id in published.known[:300]:
        answer = recommend(service, user_id, k=15, exclude_seen=exclude_seen)
        published.check(answer, 15, exclude_seen)
        assert answer["user_id"] == user_id
        assert answer["bundle_version"] == published.version
        assert (answer["fallback_reason"], answer["degraded"]) == (None, False)


@pytest.mark.slow
def test_a_user_who_has_seen_almost_everything_gets_the_rest(
    service: RunningService, published: Published
) -> None:
    answer = recommend(service, "user-0", k=20)
    published.check(answer)
    assert len(answer["items"]) == 3


def test_k_beyond_the_catalogue_gives_all_items(
    service: RunningService, published: Published
) -> None:
    answer = recommend(service, "user-5", k=500, exclude_seen=False)
    published.check(answer, 500, exclude_seen=False)
    assert len(answer["items"]) == 300


@pytest.mark.parametrize("user_id", UNUSUAL_IDS)
def test_ids_of_any_characters(service: RunningService, published: Published, user_id: str) -> None:
    answer = recommend(service, user_id)
    assert answer["user_id"] == user_id
    published.check(answer)


def test_a_slash_may_be_unescaped(service: RunningService) -> None:
    answer = service.get("/recommend/a/b").json()
    assert (answer["user_id"], answer["source"]) == ("a/b", "known_user")


@pytest.mark.parametrize(
    ("user_id", "reason"), [("nobody", "unknown_user"), ("user-499", "no_interactions")]
)
def test_without_a_vector_the_popular_items_and_the_reason(
    service: RunningService, published: Published, user_id: str, reason: str
) -> None:
    answer = recommend(service, user_id, k=10)
    assert (answer["source"], answer["fallback_reason"]) == ("popular", reason)
    counts = published.contents.seen.column_counts()
    assert [i["score"] for i in answer["items"]] == np.sort(counts)[::-1][:10].tolist()
    for item in answer["items"]:
        assert counts[published.contents.items.get(item["item_id"])] == item["score"]


def test_the_second_request_finds_the_vector_in_the_cache(service: RunningService) -> None:
    assert [recommend(service, "user-333")["cache"] for _ in range(2)] == ["miss", "hit"]


def test_explained_scores_are_the_sum_of_their_parts(
    service: RunningService, published: Published
) -> None:
    contents = published.contents
    for user_id in published.known[60:90]:
        answer = recommend(service, user_id, explain=True)
        published.check(answer)
        row = published.user_row(user_id)
        history = contents.seen.row(row)
        for item in answer["items"]:
            assert list(item["parts"]) == ["behaviour", "image", "text"]
            assert sum(item["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
            index = contents.items.get(item["item_id"])
            products = contents.item_vectors[history] @ contents.item_vectors[index]
            shares = np.maximum(products, 0) / max(np.maximum(products, 0).sum(), 1e-12)
            given = [reason["share"] for reason in item["because"]]
            expected = np.sort(shares[shares > 0])[::-1][:3]
            np.testing.assert_allclose(given, expected, atol=1e-5)
            of_history = {contents.items[int(i)] for i in history}
            assert {reason["item_id"] for reason in item["because"]} <= of_history


def test_an_item_is_shown_with_its_columns(service: RunningService, published: Published) -> None:
    counts = published.contents.seen.column_counts()
    for row in published.contents.item_table.to_pylist()[:20]:
        response = service.get(f"/items/{row['item_id']}")
        Item.model_validate_json(response.content)
        answer = response.json()
        assert answer["item_id"] == row.pop("item_id")
        assert answer["columns"] == row
        assert answer["interactions"] == counts[published.contents.items.get(answer["item_id"])]
        assert (answer["has_vector"], answer["bundle_version"]) == (True, published.version)


def test_excluded_items_are_not_recommended(service: RunningService, published: Published) -> None:
    for user_id in ("user-60", "nobody"):
        first = [item["item_id"] for item in recommend(service, user_id, k=10)["items"]]
        without = recommend(service, user_id, k=8, exclude=[*first[:2], "no-such-item"])
        assert [item["item_id"] for item in without["items"]] == first[2:]
    seen = recommend(service, "user-60", k=500, exclude=first[:1])
    row = published.user_row("user-60")
    rest = 300 - len(set(published.contents.seen.row(row)) | {int(first[0][5:])})
    assert len(seen["items"]) == rest


def test_diversity_trades_score_for_difference(
    service: RunningService, published: Published
) -> None:
    vectors = published.contents.item_vectors

    def alike(answer: dict[str, Any]) -> float:
        rows = [int(item["item_id"][5:]) for item in answer["items"]]
        cosines = vectors[rows] @ vectors[rows].T
        return float(cosines[~np.eye(len(rows), dtype=bool)].mean())

    plain = recommend(service, "user-70", k=10)
    assert recommend(service, "user-70", k=10, diversity=0)["items"] == plain["items"]
    diverse = recommend(service, "user-70", k=10, diversity=0.7)
    assert len(diverse["items"]) == 10
    assert diverse["items"][0]["item_id"] == plain["items"][0]["item_id"]
    assert alike(diverse) < alike(plain) - 0.1
    scores = published.scores("user-70")
    for item in diverse["items"]:
        assert item["score"] == pytest.approx(scores[int(item["item_id"][5:])], abs=1e-5)


def test_popular_items_have_no_explanation(service: RunningService) -> None:
    answer = recommend(service, "nobody", explain=True)
    assert all("parts" not in item for item in answer["items"])


@pytest.mark.parametrize("by", ["fused", "behaviour", "image", "text"])
def test_similar_items_by_cosine(service: RunningService, published: Published, by: str) -> None:
    vectors = published.contents.item_vectors
    for part in published.contents.parts:
        if part.name == by:  # parts of these bundles have columns of their own
            vectors = vectors[:, part.start : part.stop]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    table = published.contents.item_table.to_pydict()
    title_of = dict(zip(table["item_id"], table["title"], strict=True))
    for item_idx in (0, 7, 299):
        item_id = published.contents.items[item_idx]
        response = service.get(f"/similar/{item_id}", k=12, by=by)
        SimilarItems.model_validate_json(response.content)
        answer = response.json()
        cosines = vectors @ vectors[item_idx]
        cosines[item_idx] = -2
        given = [item["score"] for item in answer["items"]]
        np.testing.assert_allclose(given, np.sort(cosines)[::-1][:12], atol=1e-5)
        found = [published.contents.items.get(item["item_id"]) for item in answer["items"]]
        np.testing.assert_allclose(given, cosines[found], atol=1e-5)
        assert [item["title"] for item in answer["items"]] == [
            title_of[item["item_id"]] for item in answer["items"]
        ]
