"""Redis behind a Sentinel: the master dies, its replica takes over, the service follows."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Published, StartService
from servers import RunningRedis, RunningService, clean_environment, command, wait_until

PASSWORD = "p@ss/word"
NAME = "shop"


class Watched:
    """A master with a password, its replica, and a Sentinel without one."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        def redis_server(**options: Any) -> RunningRedis:
            return running.enter_context(closing(RunningRedis(**options)))

        secrets = {"requirepass": PASSWORD, "masterauth": PASSWORD, "dir": str(folder)}
        self.master = redis_server(**secrets)
        self.replica = redis_server(replicaof=f"127.0.0.1 {self.master.port}", **secrets)
        wait_until(
            lambda: self.replica.client.info("replication")["master_link_status"] == "up",
            "the replica",
        )
        file = folder / "sentinel.conf"
        file.write_text(
            f"sentinel monitor {NAME} 127.0.0.1 {self.master.port} 1\n"
            f"sentinel auth-pass {NAME} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {NAME} 500\n"
            f"sentinel failover-timeout {NAME} 3000\n"
        )
        self.sentinel = redis_server(sentinel=file)
        wait_until(
            lambda: self.sentinel.client.sentinel_master(NAME)["num-slaves"] == 1, "the Sentinel"
        )
        self.url = f"redis://:p%40ss%2Fword@127.0.0.1:{self.sentinel.port}/0"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as running:
        yield Watched(tmp_path, running)


def send(service: RunningService, user: str, item: str) -> bool:
    event = {"user_id": user, "item_id": item}
    return service.post("/events", json={"events": [event]}).status_code == 202


def test_a_failover_is_followed(
    start: StartService, watched: Watched, published: Published
) -> None:
    service = start(redis_url=watched.url, redis_sentinel=NAME, breaker_reset=0.2)
    assert service.get("/readyz").json()["redis"] == "ok"
    items = published.contents.items.ids
    user = "somebody-new"  # an item that a user has already would change nothing
    assert send(service, user, items[0])
    assert service.get(f"/recommend/{user}").json()["source"] == "folded_in"
    # Kept by the master, and not by the Sentinel.
    kept = watched.master.client.dbsize()
    wait_until(lambda: watched.replica.client.dbsize() == kept > 0, "the replica has it")

    watched.master.kill()
    # Whatever happens, there are recommendations.
    assert service.get(f"/recommend/{published.known[1]}").status_code == 200
    wait_until(lambda: send(service, user, items[1]), "the replica that took over", 60)
    assert watched.replica.client.info("replication")["role"] == "master"
    wait_until(lambda: service.get("/readyz").json()["redis"] == "ok", "a Redis that works")
    events = service.get(f"/users/{user}").json()["events"]
    assert [event["item_id"] for event in events] == items[:2]
    assert service.terminate() == 0


def test_a_sentinel_that_is_not_there_makes_the_service_degraded(
    start: StartService, watched: Watched, published: Published
) -> None:
    watched.sentinel.kill()
    service = start(redis_url=watched.url, redis_sentinel=NAME)
    answer = service.get(f"/recommend/{published.known[0]}").json()
    published.check(answer)
    wait_until(lambda: service.get("/readyz").json()["redis"] == "failing", "it is noticed")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "--redis-url must be that of the Sentinels"),
        (["--redis-url", "unix:///tmp/redis"], "--redis-url must be that of the Sentinels"),
        (
            ["--redis-url", "redis://a", "--redis-cluster", "true"],
            "a Redis Cluster has no Sentinels",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    published: Published, options: list[str], reason: str
) -> None:
    words = command("--store", str(published.store), *options, "--redis-sentinel", NAME)
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=clean_environment()
    )
    assert done.returncode == 2
    assert "--redis-sentinel (DREPMREC_REDIS_SENTINEL)" in done.stderr
    assert reason in done.stderr
