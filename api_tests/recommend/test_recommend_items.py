"""`POST /recommend/items`: sessions, and bodies that are wrong or too large."""

from typing import Any

import numpy as np
import pytest

from bundle.store.store import BundleStore
from service.schemas.errors import ErrorBody
from service.schemas.recommend import SessionRecommendations
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published


def ask(service: RunningService, **body: Any) -> dict[str, Any]:
    response = service.post("/recommend/items", json=body)
    assert response.status_code == 200, response.text
    SessionRecommendations.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def items(*numbers: int, weight: float = 1.0) -> list[dict[str, Any]]:
    return [{"item_id": f"item-{n}", "weight": weight} for n in numbers]


def test_a_session_gets_the_items_that_encoder_and_numpy_rank_first(
    service: RunningService, published: Published
) -> None:
    bundle = BundleStore(published.store).load()
    liked, weights, disliked = [3, 8, 250], [1.0, 0.5, 2.0], [17]
    rows = [*liked, *disliked]
    history = np.array(bundle.item_vectors[rows])[None]
    signed = np.array([[*weights, -0.5]], np.float32)
    vector = bundle.user_encoder.encode(history, np.ones((1, 4), np.bool_), signed)[0]
    scores = published.contents.item_vectors @ vector
    scores[rows] = -np.inf
    body = [{"item_id": f"item-{n}", "weight": w} for n, w in zip(liked, weights, strict=True)]
    answer = ask(service, items=body, disliked=["item-17"], k=12)
    assert (answer["source"], answer["fallback_reason"]) == ("session", None)
    assert answer["bundle_version"] == published.version
    assert (answer["cache"], answer["degraded"], answer["vector_age"]) == ("miss", False, 0)
    given = [item["score"] for item in answer["items"]]
    np.testing.assert_allclose(given, np.sort(scores)[::-1][:12], atol=1e-5)
    found = [int(item["item_id"][5:]) for item in answer["items"]]
    np.testing.assert_allclose(given, scores[found], atol=1e-5)
    assert not set(found) & set(rows)


def test_liked_items_may_stay_and_disliked_ones_never(service: RunningService) -> None:
    answer = ask(service, items=items(5, 6), disliked=["item-7"], k=300, exclude_items=False)
    found = {item["item_id"] for item in answer["items"]}
    assert {"item-5", "item-6"} <= found
    assert "item-7" not in found
    assert len(found) == 299


def test_unknown_items_are_named_and_count_for_nothing(service: RunningService) -> None:
    one = ask(service, items=items(5, 6))
    two = ask(service, items=[*items(5), {"item_id": "new"}, *items(6)], disliked=["old"])
    assert two["unknown_items"] == ["new", "old"]
    assert two["items"] == one["items"]


def test_a_session_of_unknown_items_gets_the_popular_ones(
    service: RunningService, published: Published
) -> None:
    counts = published.contents.seen.column_counts()
    best = int(np.argmax(counts))
    answer = ask(service, items=[{"item_id": "new"}], disliked=[f"item-{best}"], k=5)
    assert (answer["source"], answer["fallback_reason"]) == ("popular", "unknown_items")
    assert answer["vector_age"] is None
    counts[best] = -1
    assert [item["score"] for item in answer["items"]] == np.sort(counts)[::-1][:5].tolist()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", ""),
        (b"{}", "items"),
        (b'{"items":[]}', "items"),
        (b'{"items":[{"item_id":""}]}', "items.0.item_id"),
        (b'{"items":[{"item_id":7}]}', "items.0.item_id"),
        (b'{"items":[{"item_id":"a","weight":0}]}', "items.0.weight"),
        (b'{"items":[{"item_id":"a","weight":-1}]}', "items.0.weight"),
        (b'{"items":[{"item_id":"a","weight":1e300}]}', "items.0.weight"),
        (b'{"items":[{"item_id":"a","weight":NaN}]}', "items.0.weight"),
        (b'{"items":[{"item_id":"a"}],"k":501}', "k"),
        (b'{"items":[{"item_id":"a"}],"kk":5}', "kk"),
        (b'{"items":[' + b",".join([b'{"item_id":"a"}'] * 501) + b"]}", "items"),
    ],
)
def test_wrong_bodies_are_refused_with_the_field(
    service: RunningService, body: bytes, field: str | None
) -> None:
    headers = {"content-type": "application/json"}
    response = service.post("/recommend/items", content=body, headers=headers)
    assert response.status_code == 422, response.text
    error = ErrorBody.model_validate_json(response.content).error
    assert error.code == "invalid_parameter"
    assert len(error.message) < 200
    if field:
        assert error.field == field


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_not_read(service: RunningService, chunked: bool) -> None:
    body = b'{"items":[' + b" " * 2_000_000 + b"]}"
    content = (body[n : n + 65536] for n in range(0, len(body), 65536)) if chunked else body
    response = service.post("/recommend/items", content=content)
    assert response.status_code == 413
    error = ErrorBody.model_validate_json(response.content).error
    assert (error.code, error.field) == ("body_too_large", None)


def test_other_paths_below_recommend_take_no_post(service: RunningService) -> None:
    response = service.post("/recommend/user-1", json={})
    assert response.status_code == 405
    assert service.get("/recommend/items").json()["fallback_reason"] == "unknown_user"


def test_an_explanation_names_parts_and_liked_items(
    service: RunningService, published: Published
) -> None:
    answer = ask(service, items=items(5, 6), disliked=["item-7"], explain=True, weights="image:2")
    assert len(answer["items"]) == 20
    for item in answer["items"]:
        assert sum(item["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
        assert list(item["parts"]) == [part.name for part in published.contents.parts]
        assert {one["item_id"] for one in item["because"]} <= {"item-5", "item-6"}
    assert any(item["because"] for item in answer["items"])
    popular = ask(service, items=[{"item_id": "new"}], explain=True)
    assert not any("parts" in item for item in popular["items"])
