"""Redis with a Sentinel: the master ends, its replica takes over, the service follows."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from bundle.errors import InputError
from tests.support.running.processes import free_port, run_service
from tests.support.running.sentinel import NAME, RedisWithSentinel
from tests.support.running.servers import RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import wait_until
from training.refresh.redis_client import RedisOptions, open_redis


@pytest.fixture
def with_sentinel(tmp_path: Path) -> Iterator[RedisWithSentinel]:
    with ExitStack() as running:
        yield RedisWithSentinel(tmp_path, running)


def send(service: RunningService, user: str, item: str) -> bool:
    event = {"user_id": user, "item_id": item}
    return service.post("/events", json={"events": [event]}).status_code == 202


@pytest.mark.slow
def test_a_failover_is_followed(
    start: StartService, with_sentinel: RedisWithSentinel, published: Published
) -> None:
    service = start(redis_url=with_sentinel.url, redis_sentinel=NAME, breaker_reset=0.2)
    assert service.get("/readyz").json()["redis"] == "ok"
    items = published.contents.items.ids
    user = "somebody-new"  # an item that a user has already would change nothing
    assert send(service, user, items[0])
    assert service.get(f"/recommend/{user}").json()["source"] == "folded_in"
    kept = with_sentinel.master.client.dbsize()
    wait_until(lambda: with_sentinel.replica.client.dbsize() == kept > 0, "the replica has it")

    with_sentinel.master.kill()
    # There are recommendations before the replica has taken over.
    assert service.get(f"/recommend/{published.known[1]}").status_code == 200
    wait_until(lambda: send(service, user, items[1]), "the replica as master")
    assert with_sentinel.replica.client.info("replication")["role"] == "master"
    wait_until(lambda: service.get("/readyz").json()["redis"] == "ok", "a Redis that works")
    events = service.get(f"/users/{user}").json()["events"]
    assert [event["item_id"] for event in events] == items[:2]
    assert service.terminate() == 0


@pytest.mark.slow
def test_a_sentinel_that_is_not_there_makes_the_service_degraded(
    start: StartService, with_sentinel: RedisWithSentinel, published: Published
) -> None:
    with_sentinel.sentinel.kill()
    service = start(redis_url=with_sentinel.url, redis_sentinel=NAME)
    answer = service.get(f"/recommend/{published.known[0]}").json()
    published.check(answer)
    wait_until(lambda: service.get("/readyz").json()["redis"] == "failing", "it is noticed")


@pytest.mark.slow
def test_a_start_needs_one_of_several_sentinels(
    start: StartService, with_sentinel: RedisWithSentinel
) -> None:
    login, _, address = with_sentinel.url.rpartition("@")
    url = f"{login}@127.0.0.1:{free_port()},{address}"
    service = start(redis_url=url, redis_sentinel=NAME)
    assert service.get("/readyz").json()["redis"] == "ok"
    with closing(open_redis(url, RedisOptions(sentinel=NAME))) as client:
        assert client.ping()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "--redis-url must be that of the Sentinels"),
        (["--redis-url", "unix:///tmp/redis"], "--redis-url is a Unix socket"),
        (
            ["--redis-url", "redis://a", "--redis-cluster", "true"],
            "a Redis Cluster has no Sentinels",
        ),
    ],
)
def test_wrong_options_are_refused(published: Published, options: list[str], reason: str) -> None:
    code, output = run_service("--store", str(published.store), *options, "--redis-sentinel", NAME)
    assert code == 2
    assert "--redis-sentinel (DREPMREC_REDIS_SENTINEL)" in output
    assert reason in output


def test_a_single_server_with_several_addresses_is_refused(published: Published) -> None:
    url = "redis://one,two"
    code, output = run_service("--store", str(published.store), "--redis-url", url)
    assert code == 2
    assert "--redis-url names several addresses" in output
    with pytest.raises(InputError, match="the URL of Redis names several addresses"):
        open_redis(url, RedisOptions())
