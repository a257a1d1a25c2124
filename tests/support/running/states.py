"""Back ends of the service's state: a SQLite file, a Redis, a Redis Cluster.

Their content is read without the code under test.
"""

import asyncio
import itertools
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from bundle.events.keys import Keys
from bundle.events.records import Event
from service.observability.metrics import Metrics
from service.redis.batched_reader import BatchedReader
from service.settings import Settings
from service.state.base import NewEvent, State
from service.state.factory import open_state
from tests.support.running.processes import free_port
from tests.support.running.servers import PATIENT, RunningRedis
from tests.support.waiting import wait_until

SLOTS = 16_384
UNUSUAL_IDS = [
    "a:b",
    "line\nbreak\r\n",
    "nul\x00byte",
    "日本語-🙂\u2028",
    "{events-3}",
    "erased\n",
    '","',
    "x" * 1024,
]
"""Ids with characters that a key, a line or a script could trip over."""
Test = Callable[[State, State], Awaitable[None]]
_NAMESPACES = itertools.count()


class RunningCluster:
    """A Redis Cluster of three masters.

    Args:
        directory: for the nodes' files.
        replicas: whether each master has a replica, which takes over after `node_timeout` ms or so.
        node_timeout: time after which a node that does not answer counts as failed, ms.

    Attributes:
        nodes: the masters.
        replicas: one of each, in the same order.
    """

    def __init__(self, directory: Path, replicas: bool = False, node_timeout: int = 5000) -> None:
        self.nodes = [_cluster_node(directory / str(n), node_timeout) for n in range(3)]
        self.replicas: list[RunningRedis] = []
        self.url = self.nodes[0].url
        for n, node in enumerate(self.nodes):
            slots = range(n * SLOTS // 3, (n + 1) * SLOTS // 3)
            node.client.execute_command("CLUSTER ADDSLOTS", *slots)
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
            node.client.execute_command("CLUSTER MEET", "127.0.0.1", self.nodes[0].port)
        wait_until(self._agree, "a cluster of three nodes")
        if replicas:
            self._add_replicas(directory, node_timeout)

    def _add_replicas(self, directory: Path, node_timeout: int) -> None:
        for n, master in enumerate(self.nodes):
            replica = _cluster_node(directory / f"replica-{n}", node_timeout)
            self.replicas.append(replica)
            name = master.client.execute_command("CLUSTER MYID").decode()
            replica.client.execute_command("CLUSTER MEET", "127.0.0.1", master.port)

            def replicates(replica: RunningRedis = replica, name: str = name) -> bool:
                try:
                    replica.client.execute_command("CLUSTER REPLICATE", name)
                except redis.ResponseError:  # it does not know the master yet
                    return False
                return True

            wait_until(replicates, "a replica")
        for replica in self.replicas:
            wait_until(
                lambda r=replica: r.client.info("replication")["master_link_status"] == "up",
                "the replicas' first copy",
            )
        wait_until(self._agree, "a cluster of six nodes")

    def _agree(self) -> bool:
        ports = {
            str(sorted((found[0], found[2][1]) for found in node.client.cluster("slots")))
            for node in self.nodes
        }
        states = {node.client.cluster("info")["cluster_state"] for node in self.nodes}
        return len(ports) == 1 and states == {"ok"}

    def close(self) -> None:
        for node in [*self.nodes, *self.replicas]:
            node.close()


def _cluster_node(directory: Path, node_timeout: int) -> RunningRedis:
    directory.mkdir(parents=True)
    options = {
        "cluster_enabled": "yes",
        "cluster_node_timeout": str(node_timeout),
        "dir": str(directory),
    }
    return RunningRedis(_port_with_bus(), None, **options)


def _port_with_bus() -> int:
    """A free port whose cluster bus, 10,000 above, is free as well."""
    while True:
        port = free_port()
        if port < 55_000:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port + 10_000)):
                    return port


@dataclass(frozen=True)
class StateBackend:
    """A place for a state; `settings` name it."""

    settings: Settings

    @asynccontextmanager
    async def open(self) -> AsyncIterator[State]:
        """Another client of the same state, like another process."""
        async with AsyncExitStack() as stack:
            link: BatchedReader | None = None
            if self.settings.redis_url is not None:
                link = await stack.enter_async_context(BatchedReader(self.settings, Metrics()))
            yield await stack.enter_async_context(open_state(self.settings, Metrics(), link))

    def log(self) -> list[Event]:
        """All events kept for the next refresh; those of one user are in order."""
        if self.settings.redis_url is None:
            assert self.settings.state is not None
            columns = "user_id, item_id, type, timestamp, weight, arm"
            with closing(sqlite3.connect(self.settings.state)) as connection:
                rows = connection.execute(f"SELECT {columns} FROM events ORDER BY number")
                return [Event(*row) for row in rows]
        with closing(self.client()) as client:
            streams = [client.xrange(log) for log in Keys(self.settings.redis_namespace).logs]
        return [_event(fields) for stream in streams for _, fields in stream]

    def client(self) -> Any:
        """A new client of Redis."""
        assert self.settings.redis_url is not None
        kind = redis.RedisCluster if self.settings.redis_cluster else redis.Redis
        return kind.from_url(self.settings.redis_url.get_secret_value())


def _event(fields: dict[bytes, bytes]) -> Event:
    found: dict[str, Any] = {name.decode(): value.decode() for name, value in fields.items()}
    numbers = {name: float(found[name]) for name in ("timestamp", "weight")}
    return Event(**found | numbers)


def sqlite_backend(directory: Path) -> StateBackend:
    directory.mkdir(parents=True, exist_ok=True)
    return StateBackend(Settings(store=str(directory), state=directory / "state.sqlite3"))


def redis_backend(url: str, cluster: bool = False, **options: Any) -> StateBackend:
    """An empty state in a Redis, with time limits that a busy machine does not reach."""
    patient = PATIENT | {"breaker_reset": 0.1}
    namespace = f"contract-{next(_NAMESPACES)}"
    return StateBackend(
        Settings(
            store="unused",
            redis_url=url,  # type: ignore[arg-type]  # pydantic makes a SecretStr of it
            redis_cluster=cluster,
            redis_namespace=namespace,
            **(patient | options),
        )
    )


def run(backend: StateBackend, test: Test) -> None:
    """Run a test with two clients of one state."""

    async def both() -> None:
        async with backend.open() as one, backend.open() as other:
            await test(one, other)

    asyncio.run(both())


def event(user_id: str, item_id: str, number: int = 0, **more: Any) -> Event:
    return Event(user_id, item_id, "view", 1_700_000_000.25 + number, 1.0, **more)


def new(events: Sequence[Event]) -> list[NewEvent]:
    return [NewEvent(one) for one in events]
