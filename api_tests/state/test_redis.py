"""A Redis that is killed, hangs, holds wrong bytes or starts later: the answers stay right."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bundle.events.vector_codec import encode_vector
from tests.support.running.proxies import constant_reply_server
from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow

ALWAYS_REDIS = {"vector_cache_size": 0}
"""Every request reads the vector from Redis."""


def key(published: Published, user_id: str, namespace: str = "default") -> bytes:
    return f"drepmrec:{namespace}:{published.version}:user_vector:{user_id}".encode()


def ask(service: RunningService, published: Published, user_id: str) -> dict[str, Any]:
    response = service.get(f"/recommend/{user_id}")
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    published.check(answer)
    return answer


def test_vectors_are_written_once_and_read_from_then_on(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    options = {"redis_namespace": "shop-1", "vector_ttl": 100_000, "vector_ttl_jitter": 0.5}
    service = start(redis_url=redis_server.url, **ALWAYS_REDIS, **options)
    assert service.get("/readyz").json()["redis"] == "ok"
    assert ask(service, published, "user-5")["cache"] == "miss"
    stored = key(published, "user-5", "shop-1")
    wait_until(lambda: redis_server.client.exists(stored), "the write")
    vector = published.contents.user_vectors[5]
    assert redis_server.client.get(stored) == encode_vector(stored, vector)
    assert 50_000 - DEADLINE < redis_server.client.ttl(stored) <= 150_000
    answer = ask(service, published, "user-5")
    assert (answer["cache"], answer["degraded"]) == ("hit", False)
    assert service.metric("vector_lookups_total", layer="redis", result="hit") == 1
    assert service.metric("vector_lookups_total", layer="redis", result="miss") == 1
    # The lives of the vectors differ.
    for n in range(100, 120):
        ask(service, published, f"user-{n}")
    wait_until(lambda: redis_server.client.dbsize() > 10, "more writes")
    assert len({redis_server.client.ttl(k) for k in redis_server.client.scan_iter()}) > 3


@pytest.mark.parametrize("refuse", ["maxmemory 1", "replicaof 127.0.0.1 1"])
def test_a_redis_that_answers_and_takes_no_writes(
    start: StartService, redis_server: RunningRedis, published: Published, refuse: str
) -> None:
    service = start(redis_url=redis_server.url, breaker_reset=0.1)
    events = {"events": [{"user_id": "user-7", "item_id": "item-1"}]}
    assert service.post("/events", json=events).status_code == 202

    def state() -> tuple[str, bool, float]:
        ready = service.get("/readyz").json()
        return ready["redis"], ready["degraded"], service.metric("degraded")

    assert state() == ("ok", False, 0)
    option, _, value = refuse.partition(" ")
    if option == "maxmemory":
        redis_server.client.config_set(option, value)
    else:
        redis_server.client.execute_command(option, *value.split())
    wait_until(lambda: state() == ("failing", True, 1), "the notice")
    assert service.post("/events", json=events).status_code == 503
    assert service.get("/recommend/user-7").json()["degraded"] is False
    ask(service, published, "user-5")
    assert len(service.events("redis_refuses_writes")) == 1
    if option == "maxmemory":
        redis_server.client.config_set(option, 0)
    else:
        redis_server.client.execute_command(option, "NO", "ONE")
    wait_until(lambda: state() == ("ok", False, 0), "the end of it")
    assert service.post("/events", json=events).status_code == 202


def test_users_without_a_vector_leave_nothing_in_redis(
    start: StartService, redis_server: RunningRedis
) -> None:
    service = start(redis_url=redis_server.url, **ALWAYS_REDIS)
    for n in range(50):
        assert service.get(f"/recommend/nobody-{n}").json()["source"] == "popular"
    assert service.get("/recommend/user-499").json()["fallback_reason"] == "no_interactions"
    assert redis_server.client.dbsize() == 0


def test_wrong_bytes_are_recognised_counted_and_replaced(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    service = start(redis_url=redis_server.url, **ALWAYS_REDIS)
    vectors = published.contents.user_vectors
    length = len(encode_vector(b"", vectors[0]))
    others_row = encode_vector(key(published, "user-21"), vectors[21])
    wrong = {
        "user-10": np.random.default_rng(0).bytes(length),
        "user-11": b"\x00" * length,
        "user-12": b"short",
        "user-13": b"x" * 100_000,
        "user-14": b"",
        "user-15": others_row,  # whole, but another user's
        "user-16": encode_vector(key(published, "user-16"), vectors[16])[:-1] + b"\x00",
        "user-17": vectors[17].tobytes(),  # right, but without the digest
    }
    for user_id, value in wrong.items():
        redis_server.client.set(key(published, user_id), value)
    for user_id in wrong:
        answer = ask(service, published, user_id)
        assert (answer["cache"], answer["degraded"]) == ("miss", True)
    assert service.metric("redis_errors_total", kind="corrupt") == len(wrong)
    for user_id in wrong:
        stored = key(published, user_id)
        right = encode_vector(stored, vectors[int(user_id[5:])])
        wait_until(lambda k=stored, v=right: redis_server.client.get(k) == v, "the overwriting")
        answer = ask(service, published, user_id)
        assert (answer["cache"], answer["degraded"]) == ("hit", False)
    # A key of another type is no value; it is replaced as well.
    redis_server.client.rpush(key(published, "user-18"), "a", "b")
    ask(service, published, "user-18")
    wait_until(lambda: redis_server.client.type(key(published, "user-18")) == b"string", "a value")
    assert service.metric("degraded") == 0


@pytest.mark.parametrize(
    "value", [b"null", b'{"a": 5}', b'[5, "x", null, {}, []]\n', b"\xff", b"[[[[", b"12345"]
)
def test_foreign_values_of_the_state_are_never_a_server_error(
    start: StartService, redis_server: RunningRedis, published: Published, value: bytes
) -> None:
    service = start(redis_url=redis_server.url)
    service.post("/events", json={"events": [{"user_id": "user-5", "item_id": "item-1"}]})
    page = service.get("/recommend/user-6", cursor="new", k=2).json()
    [events] = redis_server.client.keys("drepmrec:default:*:user:user-5")
    [ranking] = redis_server.client.keys("drepmrec:default:pages:*")
    for key_ in (events, ranking):
        redis_server.client.set(key_, value)
    answer = ask(service, published, "user-5")  # without events, as while Redis fails
    assert answer["degraded"]
    assert service.metric("state_failures_total", operation="user") == 1
    assert service.events("user_events_unreadable")
    response = service.get("/users/user-5")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "state_unavailable")
    response = service.get("/recommend/user-6", cursor=page["next_cursor"], k=2)
    assert (response.status_code, response.json()["error"]["code"]) == (410, "cursor_expired")
    assert service.metric("state_failures_total", operation="pages") == 1
    # An erasure mends it.
    assert service.client.delete("/users/user-5").status_code == 204
    assert not service.get("/recommend/user-5").json()["degraded"]


def test_a_request_waits_once_for_a_redis_that_hangs(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    limits = {"redis_timeout": 0.5, "breaker_failures": 1000, "breaker_reset": 3600}
    service = start(redis_url=redis_server.url, **ALWAYS_REDIS, **limits)
    ask(service, published, "user-5")
    page = service.get("/recommend/user-5", cursor="new", k=2).json()
    redis_server.hang()

    def waits() -> float:
        return service.metric("redis_errors_total", kind="timeout")

    before = waits()
    assert ask(service, published, "user-5")["degraded"]
    for number, cursor in enumerate(("new", page["next_cursor"]), 2):
        response = service.get("/recommend/user-5", cursor=cursor, k=2)
        assert response.status_code == 503
        wait_until(lambda n=number: waits() == before + n, "the end of the look-up")


def test_a_thousand_requests_while_redis_is_killed(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    service = start(redis_url=redis_server.url, breaker_reset=0.2, **ALWAYS_REDIS)
    users = [u for u in published.known if u.startswith("user-")][2:402]
    asked = [users[n % len(users)] for n in range(1000)]

    def one(n: int) -> dict[str, Any]:
        if n == 500:
            redis_server.kill()
        return ask(service, published, asked[n])

    with ThreadPoolExecutor(8) as pool:
        before = list(pool.map(one, range(450)))
        list(pool.map(one, range(450, 550)))  # some are in work when Redis is killed
        answers = list(pool.map(one, range(550, 1000)))
    assert not any(answer["degraded"] for answer in before)
    assert all(answer["degraded"] for answer in answers)
    assert service.get("/readyz").json() | {"bundle_version": ""} == {
        "status": "ready",
        "bundle_version": "",
        "degraded": True,
        "redis": "failing",
        "store": "ok",
    }
    assert service.metric("degraded") == 1
    similar = f"/similar/{answers[0]['items'][0]['item_id']}"
    assert service.get(similar).json()["degraded"] is True
    assert service.metric("redis_errors_total", kind="connection") >= 3
    assert service.metric("redis_breaker_state") in (1, 2)
    redis_server.start()
    wait_until(lambda: service.get("/readyz").json()["redis"] == "ok", "Redis in use again")
    assert ask(service, published, "user-9")["degraded"] is False
    assert service.get(similar).json()["degraded"] is False
    assert service.metric("degraded") == 0
    assert len(service.events("redis_left_alone")) >= 1


def test_a_hung_redis_holds_few_requests(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    service = start(
        redis_url=redis_server.url, redis_timeout=1, breaker_reset=0.3, vector_cache_size=0
    )
    for user_id in ("user-30", "user-31"):
        ask(service, published, user_id)
    redis_server.hang()
    seconds = []
    for n in range(200):
        started = time.monotonic()
        answer = ask(service, published, f"user-{100 + n}")
        seconds.append(time.monotonic() - started)
        assert answer["degraded"]
    # One for each failure that the circuit breaker counts, and none for its probes.
    assert sum(s >= 1 for s in seconds) <= 4, sorted(seconds)[-8:]
    assert max(seconds) < 60
    assert service.metric("redis_errors_total", kind="timeout") >= 3
    redis_server.resume()
    wait_until(lambda: service.get("/readyz").json()["redis"] == "ok", "Redis in use again")
    wait_until(lambda: not ask(service, published, "user-30")["degraded"], "an answer with it")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b":1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"+OK\r\n",
        b"$-1\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"*1\r\n$3\r\nabc\r\n" * 3,
        b"\x00\xff\xfe",
    ],
)
def test_a_server_that_is_no_redis(start: StartService, published: Published, reply: bytes) -> None:
    with constant_reply_server(reply) as port:
        limits = {"redis_timeout": 2, "state_timeout": 2, "breaker_reset": 0.1}
        service = start(redis_url=f"redis://127.0.0.1:{port}/0", **ALWAYS_REDIS, **limits)
        for n in range(10, 30):
            assert ask(service, published, f"user-{n}")["cache"] == "miss"
        assert service.terminate() == 0


def test_redis_may_start_after_the_service(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    redis_server.kill()
    service = start(redis_url=redis_server.url, breaker_reset=0.1)
    assert ask(service, published, "user-5")["degraded"]
    redis_server.start()
    wait_until(lambda: not service.get("/readyz").json()["degraded"], "Redis in use")
