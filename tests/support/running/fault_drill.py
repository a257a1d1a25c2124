"""A service whose Redis fails in one of several ways, and what it has accepted until then."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.reference.reference_model import ReferenceModel
from tests.support.running.proxies import FaultyProxy
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.states import StateBackend
from tests.support.waiting import wait_until

DELAY = 1.5
"""Seconds of the fault `slow`: too slow for a request's look-up, not for an event."""
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
