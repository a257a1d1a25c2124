"""Outcomes over HTTP: what was shown, the events that followed, and what counts as one."""

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.engine.outcomes import OutcomeRecorder
from service.observability.metrics import Metrics
from service.settings import Settings
from service.state.factory import NoState
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.running.states import StateBackend
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

ARMS = [{"name": "control", "share": 0.5}, {"name": "diverse", "share": 0.5}]
StartMeasured = Callable[..., RunningService]


@pytest.fixture
def start_measured(start: StartService, backend: StateBackend, tmp_path: Path) -> StartMeasured:
    """A function that starts services with an experiment, whose outcomes are kept in one state."""
    experiment = tmp_path / "experiment.json"
    experiment.write_text(json.dumps({"name": "test", "arms": ARMS}))
    settings = backend.settings
    state: dict[str, Any] = {"state": settings.state}
    if settings.redis_url is not None:
        state = {
            "redis_url": settings.redis_url.get_secret_value(),
            "redis_cluster": settings.redis_cluster,
            "redis_namespace": settings.redis_namespace,
        }

    def start_one(**options: Any) -> RunningService:
        return start(**{"experiment": experiment, "outcome_share": 1, **state, **options})

    return start_one


def shown_to(service: RunningService, user_id: str, **params: Any) -> list[str]:
    """Items of an answer, once it is remembered."""
    before = records(service, "impression", "written")
    items = service.get(f"/recommend/{user_id}", **params).json()["items"]
    wait_until(lambda: records(service, "impression", "written") > before, "the impression")
    return [item["item_id"] for item in items]


def send(service: RunningService, *events: dict[str, Any]) -> dict[str, int]:
    """Send events; returns once all new ones are attributed or not."""
    before = looked_at(service)
    answer = service.post("/events", json={"events": list(events)})
    assert answer.status_code == 202
    result: dict[str, int] = answer.json()
    expected = before + result["accepted"]
    wait_until(lambda: looked_at(service) >= expected, "the outcomes")
    return result


def looked_at(service: RunningService) -> float:
    kinds = ("attributed", "unattributed", "failed", "dropped")
    return sum(records(service, "event", kind) for kind in kinds)


def records(service: RunningService, kind: str, result: str) -> float:
    return service.metric("outcome_records_total", kind=kind, result=result)


def attributed(service: RunningService, **labels: str) -> float:
    return service.metric("attributed_events_total", **labels)


def at(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_an_event_that_follows_a_shown_item_counts_once(
    start_measured: StartMeasured, published: Published
) -> None:
    service = start_measured(outcome_window=3600)
    one, other = published.known[-2:]
    items = shown_to(service, one, k=12)
    arm = service.get(f"/recommend/{one}", k=12).json()["experiment"]["arm"]
    labels = {"arm": f"test/{arm}", "bundle": published.version, "source": "known_user"}
    wait_until(lambda: records(service, "impression", "written") == 2, "both answers")
    positions = {"1": 2, "2-3": 4, "4-10": 14, "11-30": 4}
    for position, number in positions.items():
        assert service.metric("shown_items_total", position=position, **labels) == number
    assert service.metric("shown_items_total") == 24
    assert service.metric("outcome_answers_total", bundle=published.version) == 2

    first = {"user_id": one, "item_id": items[0], "type": "purchase", "key": "1"}
    assert send(service, first) == {"accepted": 1, "repeated": 0}
    assert attributed(service, position="1", **labels) == 1
    # The same event again, by its key or without one, is the same outcome.
    assert send(service, first) == {"accepted": 0, "repeated": 1}
    send(service, first | {"key": "2"})
    assert attributed(service) == 1
    # Another type is another outcome; a dislike is one, but no success.
    send(service, {"user_id": one, "item_id": items[10], "type": "view", "key": "3"})
    assert attributed(service, position="11-30", **labels) == 1
    send(service, {"user_id": one, "item_id": items[5], "type": "dislike"})
    assert records(service, "event", "attributed") == 3
    assert attributed(service) == 2

    # Neither another user, nor an item that was not shown, nor another time.
    rest = sorted(set(published.contents.items.ids) - set(items))
    send(service, {"user_id": other, "item_id": items[1]})
    send(service, {"user_id": one, "item_id": rest[0]})
    send(service, {"user_id": one, "item_id": items[1], "timestamp": at(3700)})
    send(service, {"user_id": one, "item_id": items[1], "timestamp": at(-3600)})
    assert records(service, "event", "attributed") == 3
    send(service, {"user_id": one, "item_id": items[1], "timestamp": at(3500)})
    assert attributed(service, position="2-3", **labels) == 1
    assert service.metric("outcome_events_total", bundle=published.version) == 3


def test_batches_pages_and_new_users_are_measured_and_sessions_are_not(
    start_measured: StartMeasured, published: Published
) -> None:
    service = start_measured()
    users = [*published.known[:4], "nobody"]
    answers = service.post("/recommend", json={"users": users, "k": 3}).json()["results"]
    service.post("/recommend/items", json={"items": [{"item_id": "item-1"}]})
    service.get("/similar/item-1")
    wait_until(lambda: records(service, "impression", "written") == 5, "the batch")
    send(
        service, *({"user_id": a["user_id"], "item_id": a["items"][2]["item_id"]} for a in answers)
    )
    assert attributed(service, source="known_user", position="2-3") == 4
    assert attributed(service, source="popular", position="2-3") == 1
    user = published.known[-1]
    page = service.get(f"/recommend/{user}", k=10, cursor="new").json()
    second = service.get(f"/recommend/{user}", k=10, cursor=page["next_cursor"]).json()
    wait_until(lambda: records(service, "impression", "written") == 7, "two pages")
    send(service, {"user_id": user, "item_id": second["items"][0]["item_id"]})
    assert attributed(service, position="11-30") == 1


def test_two_workers_attribute_each_others_answers_once(
    start_measured: StartMeasured, published: Published
) -> None:
    service = start_measured(workers=2)
    users = published.known[:30]
    shown = {
        user: service.get(f"/recommend/{user}").json()["items"][0]["item_id"] for user in users
    }
    # Each on a connection of its own, so that both workers get some, and at once after the answers.
    for number in range(2):
        for user, item in shown.items():
            event = {"user_id": user, "item_id": item, "key": f"{number}"}
            with httpx.Client(base_url=service.url, timeout=DEADLINE) as client:
                assert client.post("/events", json={"events": [event]}).status_code == 202
    wait_until(lambda: looked_at(service) == 60, "the outcomes of both workers")
    assert records(service, "impression", "written") == 30
    assert attributed(service) == 30


def test_only_the_share_is_measured_and_nobody_by_default(
    start_measured: StartMeasured, published: Published
) -> None:
    half = start_measured(outcome_share=0.3)
    settings = Settings(store="unused", outcome_share=0.3)
    recorder = OutcomeRecorder(NoState("unused"), settings, Metrics())
    users = [user for user in published.known if user.startswith("user-")][:150]
    measured = [user for user in users if recorder.measures(user)]
    assert 30 < len(measured) < 60
    for user in users:
        half.get(f"/recommend/{user}", k=1)
    wait_until(lambda: records(half, "impression", "written") == len(measured), "impressions")
    shown_to(half, measured[0])  # whatever waited before is written before it
    assert records(half, "impression", "written") == len(measured) + 1
    none = start_measured(outcome_share=0)
    items = none.get(f"/recommend/{published.known[0]}", k=1).json()["items"]
    event = {"user_id": published.known[0], "item_id": items[0]["item_id"]}
    assert none.post("/events", json={"events": [event]}).status_code == 202
    assert none.metric("outcome_records_total") == 0


def test_what_waits_is_written_at_the_end(
    start_measured: StartMeasured, published: Published
) -> None:
    service = start_measured()
    user = published.known[0]
    item = service.get(f"/recommend/{user}", k=1).json()["items"][0]["item_id"]
    assert service.terminate() == 0
    again = start_measured()
    send(again, {"user_id": user, "item_id": item})
    assert attributed(again) == 1


def test_a_state_that_fails_costs_outcomes_and_no_answer(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    service = start(redis_url=redis_server.url, outcome_share=1, breaker_reset=0.1)
    item = shown_to(service, published.known[0])[0]
    redis_server.kill()
    assert service.get(f"/recommend/{published.known[1]}").status_code == 200
    wait_until(lambda: records(service, "impression", "failed") == 1, "the failure")
    event = {"user_id": published.known[0], "item_id": item, "key": "1"}
    assert service.post("/events", json={"events": [event]}).status_code == 503
    redis_server.start()
    wait_until(
        lambda: service.post("/events", json={"events": [event]}).status_code == 202, "Redis"
    )
    wait_until(lambda: looked_at(service) == 1, "the event that was stored")
    assert attributed(service) == 0  # what was shown is gone with the data of this Redis


def test_a_worker_that_is_killed_loses_no_outcome_that_was_written(
    start_measured: StartMeasured, published: Published
) -> None:
    service = start_measured()
    item = shown_to(service, published.known[0])[0]
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    again = start_measured()
    send(again, {"user_id": published.known[0], "item_id": item})
    assert attributed(again) == 1
