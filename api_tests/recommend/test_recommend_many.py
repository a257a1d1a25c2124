"""`POST /recommend`: a batch of users gets what single requests give."""

from typing import Any

import pytest

from service.schemas.recommend import BatchRecommendations
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import UNUSUAL_IDS, Published

OPTIONS: list[dict[str, Any]] = [
    {},
    {"k": 7, "exclude_seen": False},
    {"filter": 'category = "category-2"', "k": 5},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_each_user_gets_what_they_would_get_alone(
    service: RunningService, published: Published, options: dict[str, Any]
) -> None:
    users = [*published.known[60:180], "nobody", "user-499", *UNUSUAL_IDS[3:5], "user-60"]
    response = service.post("/recommend", json={"users": users} | options)
    assert response.status_code == 200
    results = response.json()["results"]
    BatchRecommendations.model_validate_json(response.content)
    assert [result["user_id"] for result in results] == users
    for result in results:
        if result["source"] == "known_user" and "filter" not in options:
            published.check(result, options.get("k", 20), options.get("exclude_seen", True))
    for user in ("user-60", "user-75", "nobody", "user-499"):
        alone = service.client.get(f"/recommend/{user}", params=options).json()
        together = results[users.index(user)]
        assert [i["item_id"] for i in together["items"]] == [i["item_id"] for i in alone["items"]]
        assert together["source"] == alone["source"]


def test_an_invalid_id_does_not_affect_the_others(service: RunningService) -> None:
    users = ["user-60", "x" * 300, "user-61", ""]
    results = service.post("/recommend", json={"users": users}).json()["results"]
    assert [result.get("user_id") for result in results] == ["user-60", None, "user-61", None]
    for result in (results[1], results[3]):
        assert (result["error"]["code"], result["error"]["field"]) == (
            "invalid_parameter",
            "user_id",
        )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "users"),
        ({"users": []}, "users"),
        ({"users": ["a"] * 501}, "users"),
        ({"users": ["a"], "k": 0}, "k"),
        ({"users": ["a"] * 500, "k": 500, "filter": 'title = "x"'}, "users"),
        ({"users": ["a"] * 500, "k": 26, "diversity": 0.1}, "users"),
        ({"users": ["a"] * 500, "k": 200, "explain": True}, "users"),
        ({"users": ["a"] * 500, "k": 20, "diversity": 0.1, "weights": "image:2"}, "users"),
        ({"users": ["a"] * 500, "boost": ['1:title = "x"'] * 5, "weights": "image:2"}, "users"),
        ({"users": ["a"], "filter": "k ="}, "filter"),
        ({"users": ["a"], "limit": 3}, "limit"),
    ],
)
def test_errors_for_all_users_refuse_the_request(
    service: RunningService, body: dict[str, Any], field: str
) -> None:
    response = service.post("/recommend", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["field"] == field


def test_the_largest_requests_are_answered(service: RunningService) -> None:
    for options in ({"k": 250}, {"k": 22, "diversity": 0.1}, {"k": 41, "explain": True}):
        body = {"users": [f"user-{60 + n % 100}" for n in range(500)], **options}
        response = service.post("/recommend", json=body)
        assert response.status_code == 200, response.text
        assert len(response.json()["results"]) == 500
    limit = service.get("/info").json()["limits"]["max_cost"]
    refused = service.post("/recommend", json=body | {"k": 500}).json()["error"]["message"]
    assert f"more than {limit:,}" in refused
