"""`filter` in every endpoint that has it, compared with NumPy."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published

FILTER = 'category in ["category-1", "category-3"] and title is not null'


def allowed_by_hand() -> NDArray[np.int64]:
    return np.array([i for i in range(300) if i % 5 in (1, 3) and i % 7])


def indices(answer: dict[str, Any]) -> list[int]:
    return [int(item["item_id"][5:]) for item in answer["items"]]


@pytest.mark.slow
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_known_users_get_the_best_of_what_is_allowed(
    service: RunningService, published: Published, exclude_seen: bool
) -> None:
    for user_id in published.known[60:160]:
        left = allowed_by_hand()
        if exclude_seen:
            row = published.user_row(user_id)
            left = left[~np.isin(left, published.contents.seen.row(row))]
        params: dict[str, Any] = {"k": 15, "exclude_seen": exclude_seen, "filter": FILTER}
        answer = service.client.get(f"/recommend/{user_id}", params=params).json()
        expected = np.sort(published.scores(user_id)[left])[::-1][:15]
        given = [item["score"] for item in answer["items"]]
        np.testing.assert_allclose(given, expected, atol=1e-5)
        assert np.isin(indices(answer), left).all()


def test_without_a_vector_popular_items_that_the_filter_allows(
    service: RunningService, published: Published
) -> None:
    counts = published.contents.seen.column_counts()
    expected = np.sort(counts[allowed_by_hand()])[::-1][:20].tolist()
    for user_id in ("nobody", "user-499"):
        answer = service.get(f"/recommend/{user_id}", filter=FILTER).json()
        assert [item["score"] for item in answer["items"]] == expected
        assert np.isin(indices(answer), allowed_by_hand()).all()


def test_sessions_and_similar_items_are_filtered_too(service: RunningService) -> None:
    body = {"items": [{"item_id": "item-6"}], "filter": FILTER, "k": 500}
    session = service.post("/recommend/items", json=body).json()
    similar = service.get("/similar/item-6", filter=FILTER, k=500).json()
    for answer in (session, similar):
        assert sorted(indices(answer)) == sorted(set(allowed_by_hand().tolist()) - {6})


@pytest.mark.parametrize("filter_text", ['category = "no such"', "item_id is null"])
def test_a_filter_that_nothing_satisfies_gives_nothing(
    service: RunningService, filter_text: str
) -> None:
    for path in ("/recommend/user-3", "/recommend/nobody", "/similar/item-1"):
        response = service.get(path, filter=filter_text)
        assert (response.status_code, response.json()["items"]) == (200, [])


@pytest.mark.parametrize(
    ("filter_text", "message"),
    [
        ("category =", "filter: syntax error at the end"),
        ("price < 5", "filter: no column price; the columns are item_id, title, category"),
        ("category < 5", "filter: category has no order"),
        ("", "filter: syntax error"),
        ("x" * 1001, "filter: must have at most 1000 characters"),
    ],
)
def test_bad_filters_are_refused_with_the_reason(
    service: RunningService, filter_text: str, message: str
) -> None:
    body = {"items": [{"item_id": "item-6"}], "filter": filter_text}
    responses = [
        service.client.get(path, params={"filter": filter_text})
        for path in ("/recommend/user-3", "/recommend/nobody", "/similar/item-1")
    ]
    for response in [*responses, service.post("/recommend/items", json=body)]:
        assert response.status_code == 422
        error = response.json()["error"]
        assert (error["code"], error["field"]) == ("invalid_parameter", "filter")
        assert message in error["message"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("(" * 1000, 422),
        (")" * 1000, 422),
        ("not " * 250, 422),
        ("not " * 240 + 'title = "x"', 422),
        ("(" * 480 + 'title = "x"' + ")" * 480, 422),
        ("(not " * 160 + 'title = "x"' + ")" * 160, 422),
        ("(not " * 10 + 'title = "x"' + ")" * 10, 200),
        (" or ".join(['title = "x"'] * 66), 200),
        ("title in [" + ",".join(['"x"'] * 240) + "]", 200),
        ('"' * 1000, 422),
        ('title = "' + "\\\\" * 490, 422),
        ("a" * 1000, 422),
        ("`" * 1000, 422),
        ("title < " + "9" * 990, 422),
        (" " * 1000, 422),
        ("(" * 1001, 422),
    ],
)
def test_no_filter_of_1000_characters_takes_long(
    service: RunningService, text: str, status: int
) -> None:
    before = service.cpu_seconds()
    response = service.get("/recommend/user-30", filter=text)
    assert service.cpu_seconds() - before < 1
    assert response.status_code == status, response.text
    if status == 422:
        assert response.json()["error"]["field"] == "filter"
