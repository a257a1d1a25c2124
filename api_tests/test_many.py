"""`POST /recommend`: many users at once get what each would get alone."""

import pytest
from conftest import STRANGE_IDS, Published
from servers import RunningService

from service.schemas import ManyRecommendations

OPTIONS = [{}, {"k": 7, "exclude_seen": False}, {"filter": 'category = "category-2"', "k": 5}]


@pytest.mark.parametrize("options", OPTIONS)
def test_each_user_gets_what_they_would_get_alone(
    service: RunningService, published: Published, options: dict
) -> None:
    users = [*published.known[60:180], "nobody", "user-499", *STRANGE_IDS[3:5], "user-60"]
    response = service.post("/recommend", json={"users": users} | options)
    assert response.status_code == 200
    results = response.json()["results"]
    ManyRecommendations.model_validate_json(response.content)
    assert [result["user_id"] for result in results] == users
    for result in results:
        if result["source"] == "known_user" and "filter" not in options:
            published.check(result, options.get("k", 20), options.get("exclude_seen", True))
    for user in ("user-60", "user-75", "nobody", "user-499"):
        alone = service.client.get(f"/recommend/{user}", params=options).json()
        together = results[users.index(user)]
        assert [i["item_id"] for i in together["items"]] == [i["item_id"] for i in alone["items"]]
        assert together["source"] == alone["source"]


def test_an_unacceptable_id_spoils_nothing_for_the_others(service: RunningService) -> None:
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
        ({"users": ["a"] * 500, "k": 201}, "users"),
        ({"users": ["a"] * 500, "k": 21, "diversity": 0.1}, "users"),
        ({"users": ["a"], "filter": "k ="}, "filter"),
        ({"users": ["a"], "limit": 3}, "limit"),
    ],
)
def test_what_is_wrong_for_all_is_refused(service: RunningService, body: dict, field: str) -> None:
    response = service.post("/recommend", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["field"] == field
