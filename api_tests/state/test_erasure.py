"""Erasure: not a byte of the user is left in the state, but for the record of the erasure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from bundle.events.keys import Keys
from bundle.store.store import BundleStore
from tests.support.data.bundles import make_contents
from tests.support.running.servers import RunningRedis
from tests.support.running.service_fixtures import StartService
from tests.support.running.states import RunningCluster
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

USER, OTHER = "Maria Muster", "user-7"
SECRET = "only-maria-knows-it"
"""An item of an event."""
USERS = [f"user-{n}" for n in range(40)]
NAMESPACE = "erasure"
BARE = {"rdbcompression": "no", "stream-node-max-entries": "1"}
"""Options of Redis: contents can be searched, and a deleted entry of a stream is freed at once."""


@dataclass(frozen=True)
class State:
    """A state of a service.

    Attributes:
        options: name it.
        read: reads every byte of it: the content by the name of each file or key.
        vectors: number of places of a user's vectors.
        records: occurrences of the user's id in the record of an erasure.
    """

    options: dict[str, Any]
    read: Callable[[], dict[str, bytes]]
    vectors: int
    records: list[str]

    def places(self, *traces: bytes) -> list[str]:
        """Names and contents with a trace, as often as each has it."""
        found = ((name, name.encode() + content) for name, content in self.read().items())
        return sorted(name for name, text in found for t in traces for _ in range(text.count(t)))


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def state(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RunningRedis
) -> Iterator[State]:
    if request.param == "sqlite":
        path = tmp_path / "state.sqlite3"

        def read_files() -> dict[str, bytes]:
            names = [path.name + suffix for suffix in ("", "-wal", "-shm", "-journal")]
            files = [path.with_name(name) for name in names]
            return {file.name: file.read_bytes() for file in files if file.exists()}

        yield State({"state": path}, read_files, 0, [path.name] * 2)  # the row and its index
        return
    options: dict[str, Any] = {"redis_url": redis_server.url, "redis_namespace": NAMESPACE}
    nodes = [redis_server.client]
    if request.param == "cluster":
        cluster: RunningCluster = request.getfixturevalue("cluster")
        options |= {"redis_url": cluster.url, "redis_cluster": "true"}
        nodes = [node.client for node in cluster.nodes]
    keys = Keys(NAMESPACE)
    _, _, order, bodies = keys.notes
    before = [{name: node.config_get(name)[name] for name in BARE} for node in nodes]
    for node in nodes:
        _configure(node, BARE)
    yield State(options, lambda: _read(nodes), 2, sorted([order, bodies, keys.user(USER)]))
    for node, values in zip(nodes, before, strict=True):
        _configure(node, values)


def _configure(node: redis.Redis, options: dict[str, Any]) -> None:
    for name, value in options.items():
        node.config_set(name, value)


def _read(nodes: list[redis.Redis]) -> dict[str, bytes]:
    keys = [(node, key) for node in nodes for key in node.scan_iter(f"drepmrec:{NAMESPACE}:*")]
    return {key.decode(): node.dump(key) or b"" for node, key in keys}


def test_not_a_byte_of_an_erased_user_is_left_but_the_record_of_it(
    state: State, start: StartService, tmp_path: Path
) -> None:
    store = BundleStore(tmp_path / "store")
    ids = [USER, *USERS]
    bundles = [
        make_contents(len(ids), 60, rng=np.random.default_rng(n), user_ids=ids, n_heavy=0)
        for n in (1, 2)
    ]
    vectors = [contents.user_vectors[0].astype("<f4").tobytes() for contents in bundles]
    store.publish(bundles[0])
    arms = tmp_path / "arms.json"
    arms.write_text('{"name": "test", "arms": [{"name": "all", "share": 1}]}')
    measured = {"experiment": arms, "outcome_share": 1}
    service = start(store=store.root, reload_poll=0.1, **measured, **state.options)
    assert service.get(f"/recommend/{USER}").json()["source"] == "known_user"
    version = store.publish(bundles[1])
    wait_until(lambda: service.get("/readyz").json()["bundle_version"] == version, "the swap")
    assert service.get(f"/recommend/{USER}").json()["source"] == "known_user"
    shown = service.get(f"/recommend/{USER}", k=1).json()["items"][0]["item_id"]
    events = [
        {"user_id": user, "item_id": item, "key": f"{user}-{item}"}
        for item in ("item-1", "item-2", SECRET, "item-3", shown)
        for user in ids
        if user == USER or item != SECRET
    ]
    for event in events:  # one by one, so that there are several copies in a log
        assert service.post("/events", json={"events": [event]}).status_code == 202
    cursors = {}
    for user in (OTHER, USER, USER, USERS[-1]):
        answer = service.get(f"/recommend/{user}", k=5, cursor="new").json()
        cursors[user] = answer["next_cursor"]
    wait_until(lambda: len(state.places(*vectors)) == state.vectors, "the vectors in Redis")
    assert state.places(SECRET.encode())
    wait_until(lambda: service.metric("attributed_events_total") >= 1, "an outcome")
    assert len(state.places(USER.encode())) > len(state.records) + state.vectors
    service.get(f"/recommend/{USER}")  # its impression waits to be written meanwhile

    assert service.client.delete(f"/users/{USER}").status_code == 204

    def impressions() -> float:
        return service.metric("outcome_records_total", kind="impression", result="written")

    wait_until(lambda: impressions() == 8, "all impressions")

    def clean() -> bool:
        return not state.places(SECRET.encode(), *vectors)

    wait_until(clean, "an empty write-ahead log")
    assert state.places(USER.encode()) == state.records
    assert service.get(f"/recommend/{USER}", cursor=cursors[USER]).status_code == 410
    assert service.get(f"/recommend/{OTHER}", cursor=cursors[OTHER]).status_code == 200
    assert len(service.get(f"/users/{OTHER}").json()["events"]) == 4
