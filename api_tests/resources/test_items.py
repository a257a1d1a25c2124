"""`/items`: new, changed and deleted items, in all replicas."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from service.schemas.items import Item
from tests.support.data.item_changes import FILTERS, random_features
from tests.support.reference.reference_model import Replicas
from tests.support.running.servers import RunningRedis
from tests.support.running.service_fixtures import UNUSUAL_IDS, StartService
from tests.support.waiting import wait_until

COLUMNS = {
    "title": "Kettle",
    "category": "category-2",
    "price": 19.5,
    "stock": 4,
    "new": True,
    "tags": ["red", "hot"],
}


def check_everything(replicas: Replicas) -> None:
    """Compare every endpoint that returns items with the reference model."""
    reference = replicas.reference
    for user_id in ("user-1", "user-2", "user-59", "nobody"):
        replicas.recommend(user_id, k=500, exclude_seen=False)
        replicas.recommend(user_id, k=10)
        for text in FILTERS:
            replicas.recommend(user_id, k=500, filter=text)
    body = {"items": [{"item_id": "item-50"}, {"item_id": "item-51", "weight": 2.0}], "k": 500}
    response = replicas.request("POST", "/recommend/items", json=body)
    vector = reference.session({"item-50": 1.0, "item-51": 2.0})
    assert vector is not None
    scores = reference.scores(vector, {"item-50", "item-51"}, None)
    reference.check(response.json()["items"], scores, 500)
    for by in ("fused", "behaviour", "image"):
        answer = replicas.get("/similar/item-52", k=500, by=by)
        reference.check(answer["items"], reference.cosines("item-52", by=by), 500)
    answer = replicas.get("/similar/item-52", k=500, filter="price < 20")
    reference.check(answer["items"], reference.cosines("item-52", "price < 20"), 500)


@pytest.mark.slow
@pytest.mark.parametrize("item_id", ["new-1", *UNUSUAL_IDS, "x" * 256])
def test_a_new_item_is_in_all_answers(replicas: Replicas, item_id: str) -> None:
    made = random_features(len(item_id))
    answer = replicas.put(item_id, made, COLUMNS)
    Item.model_validate(answer)
    assert (answer["item_id"], answer["state"]) == (item_id, "new")
    assert (answer["columns"], answer["interactions"]) == (COLUMNS, 0)
    vector = replicas.reference.items[item_id].vector
    answer = replicas.get(f"/similar/{quote(item_id, safe='')}", k=500)
    replicas.reference.check(answer["items"], replicas.reference.cosines(item_id), 500)
    # A user who likes it gets it, and similar items.
    fan = f"fan of {item_id}"[:256]
    replicas.add_event(fan, item_id)
    answer = replicas.recommend(fan, exclude_seen=False)
    top = replicas.reference.scores(vector, set(), None)
    assert top[answer["items"][0]["item_id"]] == pytest.approx(max(top.values()), rel=1e-5)
    replicas.recommend(fan, filter='category = "category-2"', k=500)
    if item_id != "new-1":
        replicas.delete(item_id)


@pytest.mark.slow
def test_an_item_from_one_modality(replicas: Replicas) -> None:
    replicas.put("only-text", {"text": [0.5, 0, 0, 1]})
    replicas.put("only-image", {"image": [1, 0, 0, 0, 0, 1e6]}, {"title": "only an image"})
    replicas.put("nothing-in-it", {"image": [0] * 6, "text": [0] * 4})
    found = replicas.get("/items/nothing-in-it")
    assert (found["has_vector"], found["columns"]["title"]) == (False, None)
    assert replicas.get("/similar/nothing-in-it")["items"] == []
    check_everything(replicas)
    replicas.delete("only-image")


def test_other_columns(replicas: Replicas) -> None:
    replicas.put("item-7", columns={"category": "category-2", "price": 3})
    found = replicas.get("/items/item-7")
    assert found["state"] == "changed"
    assert found["columns"] == dict.fromkeys(COLUMNS) | {"category": "category-2", "price": 3.0}
    replicas.put("item-7", columns={})
    assert replicas.get("/items/item-7")["columns"] == dict.fromkeys(COLUMNS)
    replicas.put("item-8", columns=COLUMNS)
    replicas.put("item-9", random_features(9))  # keeps its columns
    similar = replicas.get("/similar/item-52", k=500)["items"]
    titles = {item["item_id"]: item["title"] for item in similar}
    assert (titles["item-7"], titles["item-8"]) == (None, "Kettle")
    assert titles["item-9"] == replicas.reference.trained["item-9"].columns["title"]
    check_everything(replicas)
    replicas.put("item-8")  # as in the bundle
    assert replicas.get("/items/item-8")["state"] == "trained"
    check_everything(replicas)


def test_new_features_of_an_item_that_users_have_seen(replicas: Replicas) -> None:
    user_id = "user-8"
    seen = replicas.reference.seen(user_id)[0]
    replicas.put(seen, random_features(77), COLUMNS)
    assert replicas.get(f"/items/{seen}")["state"] == "changed"
    answer = replicas.recommend(user_id, k=500)
    assert seen not in {item["item_id"] for item in answer["items"]}
    replicas.add_event(user_id, "item-300")
    replicas.recommend(user_id, k=500)
    replicas.add_event(user_id, seen, "dislike")  # counts in place of the interaction
    replicas.recommend(user_id, k=500)
    check_everything(replicas)


def test_a_deleted_item_is_never_served(replicas: Replicas) -> None:
    for item_id in ("item-53", "item-54"):
        replicas.add_event("loyal", item_id)
    replicas.put("short-lived", random_features(4), COLUMNS)
    ranking = [item["item_id"] for item in replicas.recommend("user-1")["items"]]
    best = next(item_id for item_id in ranking if item_id in replicas.reference.trained)
    for item_id in ("item-53", "short-lived", best):
        replicas.delete(item_id)
        for path in ("/items/", "/similar/"):
            response = replicas.request("GET", path + item_id)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_item")
        check_everything(replicas)
        replicas.recommend("loyal", k=500)
    response = replicas.request("DELETE", "/items/item-53")
    assert response.status_code == 404
    # It may come back: with other features, or as the bundle has it.
    replicas.put("item-53", random_features(5))
    replicas.put(best)
    replicas.recommend("loyal", k=500)
    check_everything(replicas)


def test_popular_items_without_the_deleted_ones(replicas: Replicas) -> None:
    first = replicas.recommend("nobody", k=5)["items"]
    for item in first[:3]:
        replicas.delete(item["item_id"])
        replicas.recommend("nobody", k=5)
        replicas.recommend("user-59", k=400)


def test_many_at_once_all_or_none(replicas: Replicas) -> None:
    items: list[dict[str, Any]] = [
        {"item_id": f"bulk-{n}", "features": random_features(n)} for n in range(60)
    ]
    items += [{"item_id": f"item-{n}", "columns": {"price": 1.5}} for n in range(60, 100)]
    response = replicas.request("POST", "/items", json={"items": items})
    assert (response.status_code, response.json()) == (200, {"stored": 100})
    for item in items:
        replicas.reference.put(item["item_id"], item.get("features"), item.get("columns"))
    for item_id in ("bulk-59", "item-99"):
        replicas.agree_on(item_id)
    check_everything(replicas)
    wrong = [*items[:3], {"item_id": "bulk-x", "features": {"text": [1, 2, 3]}}]
    for item in wrong[:3]:
        item["columns"] = {"title": "must not come"}
    response = replicas.request("POST", "/items", json={"items": wrong})
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["field"] == "items.3.features"
    assert error["message"] == "items.3.features: text: has 3 numbers, expected 4"
    assert replicas.get("/items/bulk-0")["columns"]["title"] is None
    # Of several changes of one item in a request the last one counts.
    twice = [{"item_id": "item-61", "columns": {"price": price}} for price in (1.0, 2.0)]
    replicas.request("POST", "/items", json={"items": twice})
    replicas.reference.put("item-61", None, {"price": 2.0})
    replicas.agree_on("item-61")
    check_everything(replicas)


def test_an_item_stored_by_one_replica_can_be_deleted_by_another(replicas: Replicas) -> None:
    for n in range(5):
        body = {"features": random_features(n)}
        assert replicas.request("PUT", f"/items/brief-{n}", json=body).status_code == 200
        assert replicas.request("DELETE", f"/items/brief-{n}").status_code == 204
        replicas.agree_on(f"brief-{n}")
    check_everything(replicas)


def test_concurrent_writers_leave_all_replicas_equal(replicas: Replicas) -> None:
    """Changes of a few items by many clients: all replicas serve the last one."""

    def change(n: int) -> int:
        service, item_id = replicas.services[n % 2], f"contested-{n % 3}"
        if n % 5 == 4:
            return int(service.client.delete(f"/items/{item_id}").status_code)
        body = {"features": random_features(n), "columns": {"price": float(n)}}
        return int(service.client.put(f"/items/{item_id}", json=body).status_code)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(change, range(90))) <= {200, 204, 404}
    for n in range(3):
        replicas.put(f"contested-{n}", random_features(n), {"price": 100.0 + n})
    check_everything(replicas)


@pytest.mark.slow
def test_changes_survive_a_restart(
    start: StartService, tmp_path: Path, redis_server: RunningRedis
) -> None:
    for options in ({"state": tmp_path / "state"}, {"redis_url": redis_server.url}):
        first = start(**options)
        first.client.put("/items/kept", json={"features": random_features(1), "columns": {}})
        first.client.delete("/items/item-3")
        first.post("/events", json={"events": [{"user_id": "u", "item_id": "kept"}]})
        first.client.delete("/users/user-4")
        expected = first.get("/recommend/u").json()["items"]
        first.process.kill()
        first.process.wait()
        again = start(**options)
        assert again.get("/items/kept").json()["state"] == "new"
        assert again.get("/items/item-3").status_code == 404
        assert again.get("/recommend/u").json()["items"] == expected
        assert again.get("/recommend/user-4").json()["source"] == "popular"
        assert again.metric("items_live", change="hidden") == 1


@pytest.mark.slow
def test_a_thousand_new_items_take_seconds(start: StartService, tmp_path: Path) -> None:
    service, other = (start(state=tmp_path / "s", max_body=5_000_000) for _ in range(2))
    items = [{"item_id": f"n-{n}", "features": random_features(n)} for n in range(1000)]
    before = service.cpu_seconds() + other.cpu_seconds()
    assert service.post("/items", json={"items": items}).json() == {"stored": 1000}
    wait_until(lambda: other.get("/items/n-999").status_code == 200, "the other replica")
    assert service.cpu_seconds() + other.cpu_seconds() - before < 10
    assert service.get("/recommend/user-1?k=500").json()["items"][0]
    assert service.post("/items", json={"items": [*items, items[0]]}).status_code == 422
