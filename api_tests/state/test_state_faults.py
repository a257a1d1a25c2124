"""A failing Redis with the state: answers and events during the failure and after it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.reference.reference_model import ReferenceModel
from tests.support.running.proxies import FaultyProxy
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import new_reference
from tests.support.running.states import StateBackend, redis_backend
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

REDIS_TIMEOUT = 0.75
STATE_TIMEOUT = 4.0
DELAY = 1.5
"""Seconds of the fault `slow`: too slow for a request's look-up, not for an event."""
PATIENT: dict[str, float] = {}
"""Limits of time that only a fault reaches, as `RunningService` sets them."""
SHORT_READS = {"redis_timeout": REDIS_TIMEOUT}
SHORT = {"redis_timeout": REDIS_TIMEOUT, "state_timeout": STATE_TIMEOUT}
BOUND = 60.0
"""Seconds that a request may take at worst on a busy machine; without a limit it never ends."""
USERS = ["user-2", "user-3", "user-4", "new-1", "new-2", "nobody"]


@dataclass
class FaultDrill:
    """A service, its Redis, and the events that the service accepted or refused."""

    redis: RunningRedis
    proxy: FaultyProxy
    service: RunningService
    backend: StateBackend
    reference: ReferenceModel
    before: ReferenceModel
    """Without events: the basis of answers while Redis fails."""
    accepted: list[str] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0

    def event(self, again: dict[str, Any] | None = None) -> int:
        """Send an event with a key, or a refused one again; the status."""
        user_id = USERS[self.sent % 5]
        item_id = f"item-{self.sent + 20}"
        body = again or {"user_id": user_id, "item_id": item_id, "key": f"key-{self.sent}"}
        self.sent += again is None
        started = time.monotonic()
        response = self.service.post("/events", json={"events": [body]})
        assert time.monotonic() - started < BOUND
        if response.status_code == 202:
            self.accepted.append(body["item_id"])
        else:
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["error"]["code"] == "state_unavailable"
            self.refused.append(body)
        return response.status_code

    def add_events(self) -> None:
        """Send events that are accepted, also to the reference model."""
        for _ in range(5):
            assert self.event() == 202
            user_id = USERS[(self.sent - 1) % 5]
            self.reference.add_event(user_id, self.accepted[-1], 1.0)

    def ask(self, user_id: str) -> bool:
        """Check an answer and its time; whether it is degraded."""
        started = time.monotonic()
        response = self.service.get(f"/recommend/{user_id}", k=30)
        assert time.monotonic() - started < BOUND
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        reference = self.before if answer["degraded"] else self.reference
        reference.check_user(answer, 30)
        return bool(answer["degraded"])

    def count(self) -> None:
        """Check that each accepted event is in the log once; then send the refused ones again."""
        log = [event.item_id for event in self.backend.log()]
        assert set(Counter(log).values()) <= {1}, "an event was kept twice"
        missing = set(self.accepted) - set(log)
        assert not missing, f"lost: {missing}"
        for body in list(self.refused):
            assert self.event(body) == 202
        self.refused.clear()
        counts = Counter(event.item_id for event in self.backend.log())
        assert counts == dict.fromkeys({*self.accepted}, 1)
        assert len(counts) == self.sent
        # They count, in the order of the log.
        for user_id in USERS:
            heard = [e for e in self.backend.log() if e.user_id == user_id]
            self.reference.events[user_id] = [(e.item_id, e.weight) for e in heard]
            wait_until(lambda user_id=user_id: not self.ask(user_id), "an answer with Redis")


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


@contextmanager
def killed(drill: FaultDrill) -> Iterator[None]:
    drill.redis.kill()
    try:
        yield
    finally:
        drill.redis.start()


@contextmanager
def hung(drill: FaultDrill) -> Iterator[None]:
    drill.redis.hang()
    try:
        yield
    finally:
        drill.redis.resume()


@contextmanager
def slow(drill: FaultDrill) -> Iterator[None]:
    drill.proxy.delay = (DELAY, DELAY)
    try:
        yield
    finally:
        drill.proxy.delay = (0, 0)


@contextmanager
def resetting(drill: FaultDrill) -> Iterator[None]:
    drill.proxy.fault = "reset"
    try:
        yield
    finally:
        drill.proxy.fault = "none"


@contextmanager
def half(drill: FaultDrill) -> Iterator[None]:
    drill.proxy.fault = "half"
    try:
        yield
    finally:
        drill.proxy.fault = "none"


@contextmanager
def half_and_wait(drill: FaultDrill) -> Iterator[None]:
    drill.proxy.fault = "half_and_wait"
    try:
        yield
    finally:
        drill.proxy.fault = "none"


@contextmanager
def full(drill: FaultDrill) -> Iterator[None]:
    drill.redis.client.config_set("maxmemory-policy", "noeviction")
    drill.redis.client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        drill.redis.client.config_set("maxmemory", 0)


@contextmanager
def read_only(drill: FaultDrill) -> Iterator[None]:
    """Like a replica whose master is gone."""
    drill.redis.client.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        drill.redis.client.replicaof("NO", "ONE")


@contextmanager
def without_replicas(drill: FaultDrill) -> Iterator[None]:
    if int(drill.redis.client.info("server")["redis_version"].split(".")[0]) < 7:
        pytest.skip("before Redis 7, scripts do not look at min-replicas-to-write")
    drill.redis.client.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        drill.redis.client.config_set("min-replicas-to-write", 0)


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
