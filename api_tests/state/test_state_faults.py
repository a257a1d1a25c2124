"""A failing Redis with the state: answers and events during the failure and after it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running.fault_drill import (
    USERS,
    FaultDrill,
    full,
    half,
    half_and_wait,
    hung,
    killed,
    read_only,
    resetting,
    slow,
    without_replicas,
)
from tests.support.running.proxies import FaultyProxy
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import new_reference
from tests.support.running.states import redis_backend
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

REDIS_TIMEOUT = 0.75
STATE_TIMEOUT = 4.0
PATIENT: dict[str, float] = {}
"""Limits of time that only a fault reaches, as `RunningService` sets them."""
SHORT_READS = {"redis_timeout": REDIS_TIMEOUT}
SHORT = {"redis_timeout": REDIS_TIMEOUT, "state_timeout": STATE_TIMEOUT}


@pytest.fixture
def drill(request: pytest.FixtureRequest, shop_store: Path, tmp_path: Path) -> Iterator[FaultDrill]:
    """A service with limits of time, whose state has changed items, an erased user and events."""
    redis = RunningRedis(appendonly="yes", appendfsync="always", dir=str(tmp_path))
    proxy = FaultyProxy(redis.port)
    backend = redis_backend(redis.url)
    service = RunningService(
        shop_store,
        tmp_path / "log",
        redis_url=proxy.url,
        redis_namespace=backend.settings.redis_namespace,
        breaker_reset=0.2,
        vector_cache_size=0,
        **request.param,
    )
    made = FaultDrill(
        redis, proxy, service, backend, new_reference(shop_store), new_reference(shop_store)
    )
    text = {"text": [0.5, -1.0, 2.0, 0.0]}
    try:
        service.client.put("/items/new", json={"features": text, "columns": {"price": 3.0}})
        service.client.delete("/items/item-0")
        service.client.delete("/users/user-4")
        for reference in (made.reference, made.before):
            reference.put("new", text, {"price": 3.0})
            reference.delete("item-0")
            reference.erase("user-4")
        yield made
    finally:
        service.close()
        proxy.close()
        redis.close()


@pytest.mark.parametrize(
    ("drill", "fault", "reads", "writes"),
    [
        (PATIENT, killed, False, False),
        (PATIENT, resetting, False, False),
        (PATIENT, half, False, False),
        (PATIENT, full, True, False),
        (PATIENT, read_only, True, False),
        (PATIENT, without_replicas, True, False),
        (SHORT, hung, False, False),
        (SHORT, half_and_wait, False, False),
        (SHORT_READS, slow, False, True),
    ],
    indirect=["drill"],
)
def test_answers_are_right_and_events_kept_or_refused(
    drill: FaultDrill, fault: Any, reads: bool, writes: bool
) -> None:
    drill.add_events()
    for user_id in USERS:
        wait_until(lambda user_id=user_id: not drill.ask(user_id), "an answer with Redis")
    with fault(drill):
        statuses: list[int] = []
        degraded: list[bool] = []
        for _ in range(2):
            degraded += [drill.ask(user_id) for user_id in USERS]
            statuses.append(drill.event())
            if statuses[-1] == 202:
                drill.reference.add_event(USERS[(drill.sent - 1) % 5], drill.accepted[-1], 1.0)
        assert degraded == [not reads] * len(degraded)
        assert set(statuses) == {202 if writes else 503}
        if not writes:
            # Changes are refused as well; changed items and erased users stay as they were.
            for method, path in (("PUT", "/items/item-5"), ("DELETE", "/users/user-9")):
                response = drill.service.client.request(method, path, json={})
                assert response.status_code == 503, response.text
        assert drill.service.get("/items/item-0").status_code == 404
        # A Redis that takes no writes is found by a probe of its own.
        wait_until(lambda: drill.service.get("/readyz").json()["degraded"], "it is noticed")
        session = drill.service.post("/recommend/items", json={"items": [{"item_id": "item-5"}]})
        assert (session.json()["source"], session.json()["degraded"]) == ("session", not reads)
    wait_until(lambda: not drill.service.get("/readyz").json()["degraded"], "Redis in use")
    wait_until(lambda: drill.service.get("/users/user-2").status_code == 200, "the state")
    # A refused change may have been made: only the reply was lost. Make it again.
    assert drill.service.client.put("/items/item-5", json={}).status_code == 200
    assert drill.service.client.delete("/users/user-9").status_code == 204
    for reference in (drill.reference, drill.before):
        reference.erase("user-9")
    drill.count()
    wait_until(lambda: not drill.ask("user-9"), "an answer with Redis")


def test_many_events_while_redis_hangs_leave_room_for_answers(
    shop_store: Path, tmp_path: Path, redis_server: RunningRedis
) -> None:
    """Events that wait for a time-out must not take up the limit of concurrent requests."""
    options: dict[str, Any] = {
        "redis_url": redis_server.url,
        "state_timeout": 1.5,
        "redis_timeout": 0.1,
    }
    service = RunningService(shop_store, tmp_path / "log", max_concurrency=16, **options)
    over = threading.Event()
    statuses: set[int] = set()

    def flood(n: int) -> None:
        event = {"user_id": f"u-{n}", "item_id": "item-1"}
        with httpx.Client(base_url=service.url, timeout=DEADLINE) as client:
            while not over.is_set():
                statuses.add(client.post("/events", json={"events": [event]}).status_code)

    def answer() -> httpx.Response:
        return service.get("/recommend/user-3")

    try:
        redis_server.hang()
        with ThreadPoolExecutor(24) as pool:
            floods = [pool.submit(flood, n) for n in range(24)]
            try:
                # The first events wait for their time-outs; later ones must not.
                wait_until(lambda: statuses, "the first time-out")
                wait_until(lambda: answer().status_code == 200, "an answer")
                answers = [answer() for _ in range(20)]
            finally:
                over.set()
            for one in floods:
                one.result()
        assert statuses == {503}
        good = [one for one in answers if one.status_code == 200]
        assert len(good) >= 10, [one.text for one in answers]
        assert all(one.json()["degraded"] for one in good)
    finally:
        redis_server.resume()
        service.close()
