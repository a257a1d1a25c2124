"""What Redis does to the state, and what becomes of answers and events meanwhile and afterwards."""

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
from conftest import new_world
from proxies import FaultyProxy
from servers import RunningRedis, RunningService, wait_until
from states import Place, redis_place
from world import World

STATE_TIMEOUT = 1.5
BOUND = 3.0
"""Seconds that a request may take at worst, on a busy machine."""
USERS = ["user-2", "user-3", "user-4", "new-1", "new-2", "nobody"]


@dataclass
class Drill:
    """A service, its Redis, and what was promised to its clients."""

    redis: RunningRedis
    proxy: FaultyProxy
    service: RunningService
    place: Place
    world: World
    before: World
    """Without events: what an answer may be made of while Redis cannot be asked."""
    promised: list[str] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    sent: int = 0

    def event(self, again: dict[str, Any] | None = None) -> int:
        """Send an event with a key; its status."""
        user_id = USERS[self.sent % 5]
        item_id = f"item-{self.sent + 20}"
        body = again or {"user_id": user_id, "item_id": item_id, "key": f"key-{self.sent}"}
        self.sent += again is None
        started = time.monotonic()
        response = self.service.post("/events", json={"events": [body]})
        assert time.monotonic() - started < BOUND
        if response.status_code == 202:
            self.promised.append(body["item_id"])
        else:
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert response.json()["error"]["code"] == "state_unavailable"
            self.refused.append(body)
        return response.status_code

    def hear(self) -> None:
        """Events whose order is known: they are in the world, too."""
        for _ in range(5):
            assert self.event() == 202
            user_id = USERS[(self.sent - 1) % 5]
            self.world.hear(user_id, self.promised[-1], 1.0)

    def ask(self, user_id: str) -> bool:
        """A right answer in time; says whether it was degraded."""
        started = time.monotonic()
        response = self.service.get(f"/recommend/{user_id}", k=30)
        assert time.monotonic() - started < BOUND
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        world = self.before if answer["degraded"] else self.world
        world.check_user(answer, 30)
        return bool(answer["degraded"])

    def count(self) -> None:
        """Every promise is kept, and nothing was kept twice."""
        log = [event.item_id for event in self.place.log()]
        assert set(Counter(log).values()) <= {1}, "an event was kept twice"
        missing = set(self.promised) - set(log)
        assert not missing, f"lost: {missing}"
        for body in list(self.refused):
            assert self.event(body) == 202
        self.refused.clear()
        counts = Counter(event.item_id for event in self.place.log())
        assert counts == dict.fromkeys({*self.promised}, 1)
        assert len(counts) == self.sent
        # And they count: in which order the refused ones came, only the log says.
        for user_id in USERS:
            heard = [e for e in self.place.log() if e.user_id == user_id]
            self.world.events[user_id] = [(e.item_id, e.weight) for e in heard]
            assert not self.ask(user_id)


@pytest.fixture(scope="module")
def drill(shop_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """Everything has happened that can: items were changed, a user erased, events kept."""
    tmp_path = tmp_path_factory.mktemp("drill")
    redis = RunningRedis(appendonly="yes", appendfsync="always", dir=str(tmp_path))
    proxy = FaultyProxy(redis.port)
    place = redis_place(redis.url)
    service = RunningService(
        shop_store,
        tmp_path / "log",
        redis_url=proxy.url,
        redis_namespace=place.settings.redis_namespace,
        redis_timeout=0.15,
        state_timeout=STATE_TIMEOUT,
        breaker_reset=0.2,
        vector_cache_size=0,
    )
    made = Drill(redis, proxy, service, place, new_world(shop_store), new_world(shop_store))
    text = {"text": [0.5, -1.0, 2.0, 0.0]}
    try:
        service.client.put("/items/new", json={"features": text, "columns": {"price": 3.0}})
        service.client.delete("/items/item-0")
        service.client.delete("/users/user-4")
        for world in (made.world, made.before):
            world.put("new", text, {"price": 3.0})
            world.delete("item-0")
            world.erase("user-4")
        yield made
    finally:
        service.close()
        proxy.close()
        redis.close()


@contextmanager
def killed(drill: Drill) -> Iterator[None]:
    drill.redis.kill()
    yield
    drill.redis.start()


@contextmanager
def hung(drill: Drill) -> Iterator[None]:
    drill.redis.hang()
    yield
    drill.redis.resume()


@contextmanager
def slow(drill: Drill) -> Iterator[None]:
    """Too slow for a request, not for an event."""
    drill.proxy.delay = (0.2, 0.2)
    yield
    drill.proxy.delay = (0, 0)


@contextmanager
def resetting(drill: Drill) -> Iterator[None]:
    drill.proxy.fault = "reset"
    yield
    drill.proxy.fault = "none"


@contextmanager
def half(drill: Drill) -> Iterator[None]:
    drill.proxy.fault = "half"
    yield
    drill.proxy.fault = "none"


@contextmanager
def half_and_wait(drill: Drill) -> Iterator[None]:
    drill.proxy.fault = "half_and_wait"
    yield
    drill.proxy.fault = "none"


@contextmanager
def full(drill: Drill) -> Iterator[None]:
    drill.redis.client.config_set("maxmemory-policy", "noeviction")
    drill.redis.client.config_set("maxmemory", 1)
    yield
    drill.redis.client.config_set("maxmemory", 0)


@contextmanager
def read_only(drill: Drill) -> Iterator[None]:
    """As a replica of a master that is gone."""
    drill.redis.client.replicaof("127.0.0.1", 1)
    yield
    drill.redis.client.replicaof("NO", "ONE")


@contextmanager
def without_replicas(drill: Drill) -> Iterator[None]:
    if int(drill.redis.client.info("server")["redis_version"].split(".")[0]) < 7:
        pytest.skip("before Redis 7, scripts do not look at min-replicas-to-write")
    drill.redis.client.config_set("min-replicas-to-write", 1)
    yield
    drill.redis.client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize(
    ("fault", "reads", "writes"),
    [
        (killed, False, False),
        (hung, False, False),
        (slow, False, True),
        (resetting, False, False),
        (half, False, False),
        (half_and_wait, False, False),
        (full, True, False),
        (read_only, True, False),
        (without_replicas, True, False),
    ],
)
def test_answers_are_right_and_events_kept_or_refused(
    drill: Drill, fault: Any, reads: bool, writes: bool
) -> None:
    drill.hear()
    for user_id in USERS:
        assert not drill.ask(user_id)
    with fault(drill):
        statuses: list[int] = []
        degraded: list[bool] = []
        for _ in range(2):
            degraded += [drill.ask(user_id) for user_id in USERS]
            statuses.append(drill.event())
            if statuses[-1] == 202:
                drill.world.hear(USERS[(drill.sent - 1) % 5], drill.promised[-1], 1.0)
        assert degraded == [not reads] * len(degraded)
        assert set(statuses) == {202 if writes else 503}
        if not writes:
            # Changes are refused as well; what is known of items and erased users stays.
            for method, path in (("PUT", "/items/item-5"), ("DELETE", "/users/user-9")):
                response = drill.service.client.request(method, path, json={})
                assert response.status_code == 503, response.text
        assert drill.service.get("/items/item-0").status_code == 404
        assert drill.service.get("/readyz").json()["degraded"] == (not reads)
        session = drill.service.post("/recommend/items", json={"items": [{"item_id": "item-5"}]})
        assert (session.json()["source"], session.json()["degraded"]) == ("session", not reads)
    wait_until(lambda: not drill.service.get("/readyz").json()["degraded"], "Redis in use")
    wait_until(lambda: drill.service.get("/users/user-2").status_code == 200, "the state")
    # What was refused may have been done: resets and halves are of replies. Do it once more.
    assert drill.service.client.put("/items/item-5", json={}).status_code == 200
    assert drill.service.client.delete("/users/user-9").status_code == 204
    for world in (drill.world, drill.before):
        world.erase("user-9")
    drill.count()
    assert not drill.ask("user-9")


def test_a_flood_while_redis_hangs_leaves_room_for_answers(
    shop_store: Path, tmp_path: Path, redis_server: RunningRedis
) -> None:
    """Events that wait for a time-out must not take the permits of those who want an answer."""
    options = {"redis_url": redis_server.url, "state_timeout": STATE_TIMEOUT, "redis_timeout": 0.1}
    service = RunningService(shop_store, tmp_path / "log", max_concurrency=16, **options)
    over = threading.Event()
    statuses: set[int] = set()

    def flood(n: int) -> None:
        event = {"user_id": f"u-{n}", "item_id": "item-1"}
        with httpx.Client(base_url=service.url, timeout=10) as client:
            while not over.is_set():
                statuses.add(client.post("/events", json={"events": [event]}).status_code)

    def answer() -> httpx.Response:
        return service.get("/recommend/user-3")

    try:
        redis_server.hang()
        with ThreadPoolExecutor(24) as pool:
            floods = [pool.submit(flood, n) for n in range(24)]
            try:
                # The first ones wait for their time-outs; those that come after must not.
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
