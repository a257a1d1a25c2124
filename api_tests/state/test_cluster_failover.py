"""Redis Cluster with replicas: a master is killed or hangs under load, its replica takes over."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from bundle.events.keys import Keys
from tests.support.running.processes import free_port
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.running.states import RunningCluster
from tests.support.waiting import wait_until
from training.refresh.redis_client import RedisOptions, open_redis

pytestmark = pytest.mark.slow

NODE_TIMEOUT = 1000
"""Time after which a node counts as failed, ms."""
USERS = [f"buyer-{n}" for n in range(60)]
"""New users, of all masters."""
KEYS = Keys("default")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RunningCluster]:
    running = RunningCluster(tmp_path / "cluster", replicas=True, node_timeout=NODE_TIMEOUT)
    yield running
    running.close()


class Load:
    """Recommendations and events of many users, one after the other, until it is stopped.

    Attributes:
        statuses: of the recommendations.
        accepted: the events that were acknowledged, by the numbers that are their times.
        refused: statuses of the other events.
    """

    def __init__(self, service: RunningService, items: list[str]) -> None:
        self._service, self._items = service, items
        self._stopped = threading.Event()
        self.statuses: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.accepted: list[int] = []
        self._threads = [
            threading.Thread(target=self._repeat, args=(work,))
            for work in (self._recommend, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def _repeat(self, work: Callable[[httpx.Client, int], None]) -> None:
        with httpx.Client(base_url=self._service.url, timeout=60) as client:
            for number in count():
                if self._stopped.is_set():
                    return
                work(client, number)

    def _recommend(self, client: httpx.Client, number: int) -> None:
        answer = client.get(f"/recommend/{USERS[number % len(USERS)]}")
        self.statuses[answer.status_code] += 1

    def _send(self, client: httpx.Client, number: int) -> None:
        event = {
            "user_id": USERS[number % len(USERS)],
            "item_id": self._items[number % len(self._items)],
            "timestamp": number,
        }
        answer = client.post("/events", json={"events": [event]})
        if answer.status_code == 202:
            self.accepted.append(number)
        else:
            self.refused[answer.status_code] += 1

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def owner(cluster: RunningCluster, key: str) -> RunningRedis:
    """The master that has a key's slot at first."""
    slot = int(cluster.nodes[0].client.execute_command("CLUSTER KEYSLOT", key))
    return next(n for i, n in enumerate(cluster.nodes) if slot < (i + 1) * 16_384 // 3)


def kept(cluster: RunningCluster, gone: RunningRedis) -> Counter[int]:
    """Number of times that each event is in the log, by its time."""
    port = next(node.port for node in cluster.nodes if node is not gone)
    with closing(redis.RedisCluster(host="127.0.0.1", port=port)) as client:
        logs: list[Any] = [client.xrange(log) for log in KEYS.logs]
    return Counter(int(float(fields[b"timestamp"])) for log in logs for _, fields in log)


@pytest.mark.parametrize("how", ["kill", "hang"])
@pytest.mark.parametrize("has_notes", [True, False], ids=["with-notes", "without-notes"])
def test_a_failover_is_followed_without_a_restart(
    how: str, has_notes: bool, cluster: RunningCluster, start: StartService, published: Published
) -> None:
    service = start(redis_url=cluster.url, redis_cluster=True, breaker_reset=0.2)
    items = published.contents.items.ids
    with_notes = owner(cluster, KEYS.notes[0])
    gone = next(node for node in cluster.nodes if (node is with_notes) == has_notes)
    replica = cluster.replicas[cluster.nodes.index(gone)]
    load = Load(service, items)
    try:
        wait_until(lambda: len(load.accepted) > 100, "events before the failure")
        getattr(gone, how)()
        wait_until(lambda: replica.client.info("replication")["role"] == "master", "a new master")
        # One event of each user: all of them are accepted, or the request is refused.
        everyone = [{"user_id": user, "item_id": items[0], "timestamp": 10**9} for user in USERS]
        wait_until(
            lambda: service.post("/events", json={"events": everyone}).status_code == 202,
            "events of all users",
        )
        wait_until(lambda: service.get("/readyz").json()["redis"] == "ok", "a Redis that works")
        before = len(load.accepted)
        wait_until(lambda: len(load.accepted) > before + 100, "events after the failover")
        deleted = service.client.delete(f"/items/{items[-1]}")  # of the notes
        assert deleted.is_success, deleted.text
    finally:
        load.stop()
    assert set(load.statuses) == {200}
    assert set(load.refused) <= {503}
    found = kept(cluster, gone)
    assert not [number for number in load.accepted if not found[number]], "lost events"
    assert max(found[number] for number in load.accepted) == 1, "an event twice"
    assert service.terminate() == 0


def test_a_start_needs_one_of_several_addresses(
    cluster: RunningCluster, start: StartService
) -> None:
    address = cluster.url.removeprefix("redis://")
    url = f"redis://127.0.0.1:{free_port()},{address}"
    service = start(redis_url=url, redis_cluster=True)
    assert service.get("/readyz").json()["redis"] == "ok"
    with closing(open_redis(url, RedisOptions(cluster=True))) as client:
        assert client.ping()
