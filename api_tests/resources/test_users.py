"""`/users`: events and interactions of a user, and erasure."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from service.schemas.users import User
from tests.support.reference.reference_model import Replicas
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import UNUSUAL_IDS, new_reference
from tests.support.waiting import wait_until


def erase(replicas: Replicas, user_id: str) -> None:
    response = replicas.request("DELETE", f"/users/{quote(user_id, safe='')}")
    assert (response.status_code, response.content) == (204, b"")
    replicas.reference.erase(user_id)


@pytest.mark.slow
@pytest.mark.parametrize("user_id", ["user-30", *UNUSUAL_IDS[4:], "x" * 256])
def test_get_of_a_user(replicas: Replicas, user_id: str) -> None:
    path = f"/users/{quote(user_id, safe='')}"
    trained = replicas.reference.contents.users.get(user_id) is not None
    if not trained:
        assert replicas.request("GET", path).status_code == 404
    replicas.add_event(user_id, "item-40", "purchase", 2.5)
    found = replicas.get(path)
    User.model_validate(found)
    assert (found["user_id"], found["trained"]) == (user_id, trained)
    assert found["bundle_version"] == replicas.reference.version
    assert found["interactions"] == replicas.reference.seen(user_id)
    known = [(e["item_id"], e["type"], e["weight"]) for e in found["events"]]
    assert known == [("item-40", "purchase", 2.5)]


@pytest.mark.slow
@pytest.mark.parametrize("user_id", ["user-31", "unknown", *UNUSUAL_IDS[5:]])
def test_an_erased_user_is_unknown(replicas: Replicas, user_id: str) -> None:
    path = quote(user_id, safe="")
    for _ in range(2):  # both replicas have the user's vector
        replicas.recommend(user_id)
    replicas.add_event(user_id, "item-41")
    for _ in range(2):
        replicas.recommend(user_id)
    erase(replicas, user_id)
    for _ in range(2):
        answer = replicas.recommend(user_id)
        assert (answer["source"], answer["fallback_reason"]) == ("popular", "unknown_user")
        assert replicas.request("GET", f"/users/{path}").status_code == 404
    many = replicas.request("POST", "/recommend", json={"users": [user_id], "k": 3}).json()
    replicas.reference.check_user(many["results"][0], 3)
    # A user who comes back is new: nothing from before counts.
    replicas.add_event(user_id, "item-42")
    for _ in range(2):
        replicas.recommend(user_id)
    found = replicas.get(f"/users/{path}")
    assert (found["trained"], found["interactions"]) == (False, [])
    assert [event["item_id"] for event in found["events"]] == ["item-42"]
    erase(replicas, user_id)
    for _ in range(2):
        replicas.recommend(user_id)


def test_the_same_events_as_before_the_erasure(replicas: Replicas) -> None:
    """A cached vector from before the erasure must not be used for the same events after it."""
    event = {"user_id": "user-33", "item_id": "item-44", "timestamp": 1_700_000_000}
    for _ in range(2):
        replicas.post_events(event)
        replicas.reference.add_event("user-33", "item-44", 1.0)
        for _ in range(3):
            replicas.recommend("user-33")
        erase(replicas, "user-33")


@pytest.mark.parametrize("path", ["/users/", "/users/" + "x" * 257, "/users/%C3%28"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_ids_that_no_user_can_have(replicas: Replicas, method: str, path: str) -> None:
    response = replicas.request(method, path)
    assert (response.status_code, response.json()["error"]["field"]) == (422, "user_id")


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
def test_wrong_methods(replicas: Replicas, method: str) -> None:
    for path, allowed in (
        ("/users/u", "DELETE, GET, HEAD"),
        ("/items/i", "DELETE, GET, HEAD, PUT"),
    ):
        if method == "PUT" and "items" in path:
            continue
        response = replicas.request(method, path)
        assert (response.status_code, response.headers["allow"]) == (405, allowed)


@pytest.mark.slow
def test_an_erased_user_stays_erased_while_redis_is_down(
    shop_store: Path, redis_server: RunningRedis, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "redis_url": redis_server.url,
        "breaker_reset": 0.2,
        "state_poll": 0.02,
    }
    services = [RunningService(shop_store, tmp_path / f"{n}.log", **options) for n in range(2)]
    reference = new_reference(shop_store)
    try:
        for service in services:
            assert service.get("/recommend/user-3").json()["source"] == "known_user"
        services[0].post("/events", json={"events": [{"user_id": "user-3", "item_id": "item-1"}]})
        assert services[0].client.delete("/users/user-3").status_code == 204
        assert services[0].client.delete("/users/user-4").status_code == 204
        for user_id in ("user-3", "user-4"):
            reference.erase(user_id)
        time.sleep(2)  # a hundred polls, by which the other replica learns of the erasures
        redis_server.kill()
        for service in services:
            for user_id in ("user-3", "user-4", "user-5"):
                answer = service.get(f"/recommend/{user_id}").json()
                assert answer["degraded"]
                reference.check_user(answer)
            assert service.client.delete("/users/user-5").status_code == 503
            assert service.get("/users/user-5").status_code == 503
            assert service.get("/recommend/user-5").json()["source"] == "known_user"
        redis_server.start()  # without its data, so that the tombstones are gone
        wait_until(lambda: not services[0].get("/readyz").json()["degraded"], "Redis")
    finally:
        for service in services:
            service.close()
