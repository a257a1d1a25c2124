"""`weights` and `boost`: the ranking is exactly that of the changed scores."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published

CATEGORY_1 = np.arange(300) % 5 == 1
CATEGORY_2 = np.arange(300) % 5 == 2


def best(scores: NDArray[np.float32], k: int) -> list[str]:
    return [f"item-{row}" for row in np.argsort(-scores, kind="stable")[:k]]


def weighted(published: Published, user_id: str, weights: dict[str, float]) -> NDArray[np.float32]:
    contents = published.contents
    row = contents.users.get(user_id)
    total = np.zeros(len(contents.items), np.float32)
    for part in contents.parts:
        columns = slice(part.start, part.stop)
        user = contents.user_vectors[row, columns]
        total += weights.get(part.name, 1.0) * (contents.item_vectors[:, columns] @ user)
    return total


def ask(service: RunningService, **options: Any) -> dict[str, Any]:
    response = service.get("/recommend/user-5", k=30, exclude_seen=False, **options)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def check(answer: dict[str, Any], scores: NDArray[np.float32]) -> None:
    assert [item["item_id"] for item in answer["items"]] == best(scores, 30)
    given = [item["score"] for item in answer["items"]]
    np.testing.assert_allclose(given, np.sort(scores)[::-1][:30], atol=1e-5)


@pytest.mark.parametrize(
    "weights", [{"image": 2.5}, {"behaviour": 0.0}, {"text": 0.5, "image": 0.0, "behaviour": 3.0}]
)
def test_weights_scale_lines_and_modalities(
    service: RunningService, published: Published, weights: dict[str, float]
) -> None:
    text = ",".join(f"{name}:{weight}" for name, weight in weights.items())
    answer = ask(service, weights=text, explain=True)
    check(answer, weighted(published, "user-5", weights))
    for item in answer["items"]:
        assert sum(item["parts"].values()) == pytest.approx(item["score"], abs=1e-4)


def test_boosts_add_to_the_scores_of_some_items(
    service: RunningService, published: Published
) -> None:
    scores = published.scores("user-5") + 0.3 * CATEGORY_1 - 0.2 * CATEGORY_2
    boosts = ['0.3:category = "category-1"', '-0.2:category = "category-2"']
    answer = ask(service, boost=boosts, explain=True)
    check(answer, scores.astype(np.float32))
    for item in answer["items"]:
        assert sum(item["parts"].values()) == pytest.approx(item["score"], abs=1e-4)


def test_weights_boosts_and_filters_together(service: RunningService, published: Published) -> None:
    scores = weighted(published, "user-5", {"text": 2.0}) + 0.5 * CATEGORY_1
    scores[~(CATEGORY_1 | CATEGORY_2)] = -9
    answer = ask(
        service,
        weights="text:2",
        boost='0.5:category = "category-1"',
        filter='category in ["category-1", "category-2"]',
    )
    check(answer, scores.astype(np.float32))


def test_batches_and_sessions_are_reweighted_as_well(
    service: RunningService, published: Published
) -> None:
    body = {"users": ["user-5"], "k": 30, "exclude_seen": False, "weights": "image:2.5"}
    (answer,) = service.post("/recommend", json=body).json()["results"]
    check(answer, weighted(published, "user-5", {"image": 2.5}))
    session = {"items": [{"item_id": "item-4"}], "boost": ['9:category = "category-2"'], "k": 5}
    found = service.post("/recommend/items", json=session).json()["items"]
    assert all(int(item["item_id"].split("-")[1]) % 5 == 2 for item in found)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"weights": "nothing:1"}, "weights"),
        ({"weights": "image"}, "weights"),
        ({"weights": "image:x"}, "weights"),
        ({"weights": "image:nan"}, "weights"),
        ({"weights": "image:-1"}, "weights"),
        ({"weights": "image:1,image:2"}, "weights"),
        ({"weights": "fused:1"}, "weights"),
        ({"boost": 'category = "category-1"'}, "boost"),
        ({"boost": '1e9:category = "category-1"'}, "boost"),
        ({"boost": "0.1:category ="}, "boost"),
        ({"boost": '0.1:nothing = "x"'}, "boost"),
        ({"boost": ['0.1:category = "x"'] * 6}, "boost"),
    ],
)
def test_malformed_options_are_refused(
    service: RunningService, options: dict[str, Any], field: str
) -> None:
    response = service.get("/recommend/user-5", **options)
    assert response.status_code == 422
    assert response.json()["error"]["field"] == field
