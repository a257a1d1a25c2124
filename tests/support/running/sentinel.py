"""A Redis with a replica and a Sentinel."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.support.running.servers import RunningRedis
from tests.support.waiting import wait_until

PASSWORD = "p@ss/word"
DOWN_AFTER = 3000
"""Milliseconds without an answer after which the Sentinel replaces the master; less would replace
one on a busy machine."""
NAME = "shop"
"""Name of the master at the Sentinel."""


class RedisWithSentinel:
    """A master with a password, its replica, and a Sentinel without one."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        def redis_server(**options: Any) -> RunningRedis:
            return running.enter_context(closing(RunningRedis(**options)))

        secrets = {"requirepass": PASSWORD, "masterauth": PASSWORD, "dir": str(folder)}
        self.master = redis_server(**secrets)
        self.replica = redis_server(replicaof=f"127.0.0.1 {self.master.port}", **secrets)
        wait_until(
            lambda: self.replica.client.info("replication")["master_link_status"] == "up",
            "the replica of the master",
        )
        file = folder / "sentinel.conf"
        file.write_text(
            f"sentinel monitor {NAME} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel auth-pass {NAME} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n"
            f"sentinel failover-timeout {NAME} 3000\n"
        )
        self.sentinel = redis_server(sentinel=file)
        wait_until(
            lambda: num_replicas(self.sentinel) == 1,
            "the Sentinel to know the replica",
        )
        self.url = f"redis://:p%40ss%2Fword@127.0.0.1:{self.sentinel.port}/0"


def num_replicas(sentinel: RunningRedis) -> int:
    """Replicas of the master that a Sentinel knows."""
    master: Any = sentinel.client.sentinel_master(NAME)
    return int(master["num-slaves"])
