"""Pages of a ranking: no item twice and none left out, whatever changes between two pages."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

USER = "/recommend/user-5"


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def pages(service: RunningService, k: int, **options: Any) -> list[dict[str, Any]]:
    found, cursor = [], "new"
    while cursor is not None:
        response = service.get(USER, k=k, cursor=cursor, **options)
        assert response.status_code == 200, response.text
        found.append(response.json())
        cursor = found[-1]["next_cursor"]
    return found


@pytest.fixture(params=["file", "redis"])
def own_service(
    request: pytest.FixtureRequest, start: StartService, tmp_path: Path
) -> RunningService:
    if request.param == "file":
        return start(state=tmp_path / "state.sqlite3")
    redis_server: RunningRedis = request.getfixturevalue("redis_server")
    return start(redis_url=redis_server.url)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"diversity": 0.4}, {"filter": 'category = "category-1"'}])
def test_all_pages_together_are_the_ranking(
    own_service: RunningService, options: dict[str, Any]
) -> None:
    found = pages(own_service, 37, **options)
    together = [item for page in found for item in page["items"]]
    if "diversity" not in options:  # which looks at a pool that depends on k
        whole = own_service.get(USER, k=500, **options).json()
        assert together == whole["items"]
    assert len({item["item_id"] for item in together}) == len(together)
    assert [item["rank"] for item in together] == list(range(1, len(together) + 1))
    assert all(len(page["items"]) == 37 for page in found[:-1])


def test_pages_stay_as_they_were_but_for_deleted_items(own_service: RunningService) -> None:
    ranking = ids(own_service.get(USER, k=500).json())
    first = own_service.get(USER, k=20, cursor="new").json()
    gone, liked = ranking[25], ranking[30]
    assert own_service.client.delete(f"/items/{gone}").status_code == 204
    event = {"user_id": "user-5", "item_id": liked}
    assert own_service.post("/events", json={"events": [event]}).status_code == 202
    assert ids(own_service.get(USER, k=500).json()) != ranking
    second = own_service.get(USER, k=20, cursor=first["next_cursor"]).json()
    assert ids(first) == ranking[:20]
    assert ids(second) == [item for item in ranking[20:41] if item != gone]
    # The same page again, and another size of the next one.
    assert own_service.get(USER, k=20, cursor=first["next_cursor"]).json() == second
    third = own_service.get(USER, k=5, cursor=second["next_cursor"]).json()
    assert ids(third) == ranking[41:46]


def test_an_old_cursor_expires(start: StartService, tmp_path: Path) -> None:
    service = start(state=tmp_path / "state.sqlite3", pages_ttl=1)
    cursor = service.get(USER, k=20, cursor="new").json()["next_cursor"]
    wait_until(lambda: service.get(USER, k=20, cursor=cursor).status_code == 410, "its end")
    response = service.get(USER, k=20, cursor=cursor)
    assert (response.status_code, response.json()["error"]["code"]) == (410, "cursor_expired")
    assert service.get(USER, cursor=f"{'0' * 32}.20").status_code == 410


def test_erasing_a_user_ends_the_cursors(start: StartService, tmp_path: Path) -> None:
    service = start(state=tmp_path / "state.sqlite3")
    cursor = service.get(USER, cursor="new").json()["next_cursor"]
    assert service.client.delete("/users/user-5").status_code == 204
    assert service.get(USER, cursor=cursor).status_code == 410
    again = service.get(USER, cursor="new").json()
    assert (again["source"], again["fallback_reason"]) == ("popular", "unknown_user")
    assert service.get(USER, cursor=again["next_cursor"]).json()["items"][0]["rank"] == 21


def test_cursors_of_other_requests_and_malformed_ones_are_refused(
    start: StartService, tmp_path: Path, published: Published
) -> None:
    service = start(state=tmp_path / "state.sqlite3")
    cursor = service.get(USER, cursor="new").json()["next_cursor"]
    for path, options in [
        ("/recommend/user-6", {"cursor": cursor}),
        (USER, {"cursor": cursor, "exclude_seen": False}),
        (USER, {"cursor": cursor, "filter": 'category = "category-1"'}),
        (USER, {"cursor": "nonsense"}),
        (USER, {"cursor": ""}),
        (USER, {"cursor": f"{cursor}9999"}),
    ]:
        response = service.get(path, **options)
        assert response.status_code == 422, (path, options)
        assert response.json()["error"]["field"] == "cursor"
    assert service.get(USER, cursor="new", explain=True).json()["error"]["field"] == "explain"
    assert service.post("/recommend", json={"users": [USER], "cursor": "new"}).status_code == 422
    published.check(service.get(USER).json())
