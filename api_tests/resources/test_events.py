"""`POST /events`: which events count, with what weight, and from when on."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.schemas.errors import ErrorBody
from service.schemas.recommend import Recommendations
from tests.support.data.item_changes import random_features
from tests.support.reference.reference_model import Replicas
from tests.support.running.processes import suspend
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import UNUSUAL_IDS, StartService, new_reference
from tests.support.waiting import DEADLINE, wait_until


@pytest.mark.slow
def test_an_event_counts_in_the_next_request(replicas: Replicas) -> None:
    """In both replicas: they get requests in turn."""
    for user_id in ("user-5", "user-6", "somebody-new", *UNUSUAL_IDS[:4]):
        for n in range(6):
            started = time.monotonic()
            replicas.add_event(user_id, f"item-{31 * n % 400}")
            answer = replicas.recommend(user_id)
            assert not answer["degraded"]
            if answer["source"] == "folded_in":
                assert answer["vector_age"] <= time.monotonic() - started + 1
            Recommendations.model_validate(answer)
        again = replicas.recommend(user_id)
        assert again["cache"] == "hit" or replicas.recommend(user_id)["cache"] == "hit"


@pytest.mark.slow
def test_weights_count(replicas: Replicas) -> None:
    """Of several events with one item the newest counts; a weight below 0 is a dislike."""
    user_id = "weighty"
    replicas.add_event(user_id, "item-1", "purchase", 3.0)
    replicas.add_event(user_id, "item-2")
    replicas.add_event(user_id, "item-3", "dislike")
    liked = replicas.recommend(user_id, exclude_seen=False, k=400)["items"]
    ranks = {item["item_id"]: item["rank"] for item in liked}
    assert ranks["item-1"] < ranks["item-3"]
    replicas.add_event(user_id, "item-1", "dislike")
    replicas.add_event(user_id, "item-2", "anything", 0.25)
    replicas.recommend(user_id, exclude_seen=False)
    replicas.add_event(user_id, "item-2", "anything", -1e6)
    answer = replicas.recommend(user_id)
    assert (answer["source"], answer["fallback_reason"]) == ("popular", "no_interactions")
    replicas.add_event(user_id, "item-4", "view", 1e6)
    replicas.recommend(user_id, exclude_seen=False)


def test_more_dislikes_than_likes(replicas: Replicas) -> None:
    """The sum of the weights is negative; the answer still follows the liked items."""
    replicas.add_event("grumpy", "item-10")
    for n in range(11, 20):
        replicas.add_event("grumpy", f"item-{n}", "dislike")
    answer = replicas.recommend("grumpy")
    assert answer["source"] == "folded_in"
    # A trained user dislikes all that was liked.
    for item_id in replicas.reference.seen("user-9"):
        replicas.add_event("user-9", item_id, "dislike")
    answer = replicas.recommend("user-9")
    assert (answer["source"], answer["fallback_reason"]) == ("popular", "no_interactions")


def test_events_of_unknown_items_count_when_the_item_is_added(replicas: Replicas) -> None:
    replicas.add_event("early", "item-of-tomorrow")
    answer = replicas.recommend("early")
    assert (answer["source"], answer["fallback_reason"]) == ("popular", "unknown_items")
    replicas.put("item-of-tomorrow", random_features(1))
    answer = replicas.recommend("early", exclude_seen=False)
    assert answer["source"] == "folded_in"
    assert answer["items"][0]["item_id"] == "item-of-tomorrow"
    replicas.recommend("early")


def test_many_users_and_explanations_see_events(replicas: Replicas) -> None:
    replicas.add_event("user-11", "item-200", "purchase", 4.0)
    replicas.add_event("explained", "item-200")
    response = replicas.request(
        "POST", "/recommend", json={"users": ["user-11", "explained", "user-12"], "k": 7}
    )
    for answer in response.json()["results"]:
        replicas.reference.check_user(answer, 7)
    answer = replicas.recommend("explained", k=3, explain="true")
    for item in answer["items"]:
        assert item["because"] in ([], [{"item_id": "item-200", "share": 1.0}])
        assert sum(item["parts"].values()) == pytest.approx(item["score"], abs=1e-5)


def test_events_are_returned_as_they_were_sent(replicas: Replicas) -> None:
    before = time.time()
    sent: list[dict[str, Any]] = [
        {"timestamp": "2026-03-14T09:15:00Z"},
        {"timestamp": "2026-03-14T11:15:00+02:00"},
        {"timestamp": "2026-03-14T09:15:00.25"},
        {"timestamp": 1_773_479_700},
        {"timestamp": "1773479700.5"},
        {"timestamp": "0001-01-01T00:00:00"},
        {"timestamp": "9999-12-31T23:59:59Z"},
        {"type": "dislike"},
        {"type": "a_B-9.z", "weight": -0.125},
        {},
    ]
    kept = replicas.post_events(
        *({"user_id": "precise", "item_id": f"i-{n}", **one} for n, one in enumerate(sent))
    )
    assert kept == {"accepted": len(sent), "repeated": 0}
    user = replicas.get("/users/precise")
    assert [e["item_id"] for e in user["events"]] == [f"i-{n}" for n in range(len(sent))]
    times = [e["timestamp"] for e in user["events"]]
    assert times[:7] == [
        1_773_479_700,
        1_773_479_700,
        1_773_479_700.25,
        1_773_479_700,
        1_773_479_700.5,
        -62_135_596_800,
        253_402_300_799,
    ]
    assert all(before <= t <= time.time() for t in times[7:])
    assert [e["weight"] for e in user["events"]] == [1.0] * 7 + [-0.5, -0.125, 1.0]
    assert [e["type"] for e in user["events"]][-4:] == ["view", "dislike", "a_B-9.z", "view"]
    assert (user["trained"], user["interactions"]) == (False, [])


def test_an_event_with_a_key_is_kept_once(replicas: Replicas) -> None:
    one = {"user_id": "careful", "item_id": "item-1", "key": "order-1"}
    other = {"user_id": "careless", "item_id": "item-1", "key": "order-1"}
    assert replicas.post_events(one, one, other) == {"accepted": 2, "repeated": 1}
    for _ in range(3):
        assert replicas.post_events(one, other) == {"accepted": 0, "repeated": 2}
    assert len(replicas.get("/users/careful")["events"]) == 1
    assert replicas.post_events({**one, "key": "order-2"}) == {"accepted": 1, "repeated": 0}
    assert len(replicas.get("/users/careful")["events"]) == 2


def test_a_thousand_events_in_one_request(replicas: Replicas) -> None:
    events = [{"user_id": f"crowd-{n % 7}", "item_id": f"item-{n % 400}"} for n in range(1000)]
    assert replicas.post_events(*events)["accepted"] == 1000
    for event in events:
        replicas.reference.add_event(event["user_id"], event["item_id"], 1.0)
    for n in range(7):
        replicas.recommend(f"crowd-{n}", k=5)
    response = replicas.request("POST", "/events", json={"events": [*events, events[0]]})
    assert response.status_code == 422
    assert response.json()["error"]["field"] == "events"


def test_the_newest_five_hundred_count(replicas: Replicas) -> None:
    for start in (0, 350):
        events = [{"user_id": "busy", "item_id": f"item-{(start + n) % 400}"} for n in range(350)]
        replicas.post_events(*events)
        for event in events:
            replicas.reference.add_event("busy", event["item_id"], 1.0)
    replicas.recommend("busy")
    assert len(replicas.get("/users/busy")["events"]) == 500


EVENT = {"user_id": "wrong", "item_id": "item-1"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "events"),
        ({"events": []}, "events"),
        ({"events": [EVENT], "more": 1}, "more"),
        ({"events": [{"item_id": "item-1"}]}, "events.0.user_id"),
        ({"events": [{**EVENT, "user_id": ""}]}, "events.0.user_id"),
        ({"events": [EVENT, {**EVENT, "item_id": "x" * 257}]}, "events.1.item_id"),
        ({"events": [{**EVENT, "user_id": 5}]}, "events.0.user_id"),
        ({"events": [{**EVENT, "user_id": "\ud800"}]}, "events.0.user_id"),
        ({"events": [{**EVENT, "type": ""}]}, "events.0.type"),
        ({"events": [{**EVENT, "type": "with space"}]}, "events.0.type"),
        ({"events": [{**EVENT, "type": "view\n"}]}, "events.0.type"),
        ({"events": [{**EVENT, "weight": 1e7}]}, "events.0.weight"),
        ({"events": [{**EVENT, "weight": float("nan")}]}, "events.0.weight"),
        ({"events": [{**EVENT, "weight": float("inf")}]}, "events.0.weight"),
        ({"events": [{**EVENT, "weight": "heavy"}]}, "events.0.weight"),
        ({"events": [{**EVENT, "timestamp": "yesterday"}]}, "events.0.timestamp"),
        ({"events": [{**EVENT, "timestamp": float("nan")}]}, "events.0.timestamp"),
        ({"events": [{**EVENT, "timestamp": 1e300}]}, "events.0.timestamp"),
        ({"events": [{**EVENT, "key": ""}]}, "events.0.key"),
        ({"events": [{**EVENT, "key": "x" * 129}]}, "events.0.key"),
        ({"events": [{**EVENT, "arm": "a/b"}]}, "events.0.arm"),
    ],
)
def test_events_that_do_not_fit_are_refused(
    replicas: Replicas, body: dict[str, Any], field: str
) -> None:
    headers = {"Content-Type": "application/json"}
    response = replicas.request("POST", "/events", content=json.dumps(body), headers=headers)
    assert response.status_code == 422, response.text
    error = ErrorBody.model_validate_json(response.content).error
    assert (error.code, error.field) == ("invalid_parameter", field)
    assert replicas.request("GET", "/users/wrong").status_code == 404  # all or none


def test_a_body_over_the_limit_gets_413(replicas: Replicas) -> None:
    response = replicas.request("POST", "/events", content=b"[" * 2_000_000)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.slow
def test_weights_of_types_can_be_set(start: StartService, tmp_path: Path) -> None:
    service = start(state=tmp_path / "s", event_weights='{"purchase": 5, "hide": -2}')
    kinds = ["view", "purchase", "hide", "dislike"]
    service.post(
        "/events", json={"events": [{"user_id": "u", "item_id": "i", "type": k} for k in kinds]}
    )
    user = service.get("/users/u").json()
    assert [event["weight"] for event in user["events"]] == [1, 5, -2, 1]
    assert service.metric("events_total", result="accepted") == 4


@contextmanager
def only(service: RunningService, worker: int) -> Iterator[httpx.Client]:
    """A client whose connections one worker accepts, as the other workers are stopped."""
    others = [pid for pid in service.workers() if pid != worker]
    for pid in others:
        suspend(pid)
    try:
        with httpx.Client(base_url=service.url, timeout=DEADLINE) as client:
            yield client
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
def test_the_workers_of_a_machine_share_one_file(
    shop_store: Path, log_paths: Iterator[Path], tmp_path: Path
) -> None:
    reference = new_reference(shop_store)
    service = RunningService(shop_store, next(log_paths), workers=2, state=tmp_path / "s")
    try:
        wait_until(lambda: len(service.events("serving")) == 2, "both workers")
        first, second = service.workers()
        for round_ in range(3):
            for writer, reader in ((first, second), (second, first)):
                item_id = f"item-{50 * round_ + writer % 50}"
                with only(service, writer) as client:
                    body = {"user_id": "user-3", "item_id": item_id, "key": f"{round_}-{writer}"}
                    response = client.post("/events", json={"events": [body]})
                    assert response.json() == {"accepted": 1, "repeated": 0}
                    reference.add_event("user-3", item_id, 1.0)
                with only(service, reader) as client:
                    reference.check_user(client.get("/recommend/user-3").json())
                    response = client.post("/events", json={"events": [body]})
                    assert response.json() == {"accepted": 0, "repeated": 1}
        with only(service, first) as client:
            given: dict[str, Any] = {"features": random_features(3), "columns": {"title": "new"}}
            assert client.put("/items/new", json=given).status_code == 200
            assert client.delete("/items/item-0").status_code == 204
            assert client.delete("/users/user-3").status_code == 204
        reference.put("new", given["features"], given["columns"])
        reference.delete("item-0")
        reference.erase("user-3")
        with only(service, second) as client:
            assert client.get("/users/user-3").status_code == 404
            wait_until(lambda: client.get("/items/item-0").status_code == 404, "the deletion")
            for user_id in ("user-3", "user-4"):
                reference.check_user(client.get(f"/recommend/{user_id}?k=400").json(), 400)
        assert service.workers() == [first, second]
    finally:
        service.close()
