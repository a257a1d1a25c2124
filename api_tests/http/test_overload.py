"""Requests and connections above their limits: they wait, are refused, or take others' places."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running.servers import RunningRedis, RunningService
from tests.support.running.service_fixtures import Published, StartService, hung_service
from tests.support.waiting import DEADLINE, wait_until

LIMIT = 3
SHORT = 0.3
"""Time that a request waits for its turn, s, where it is to be refused."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


def ask(service: RunningService, pool: ThreadPoolExecutor, n: int) -> "Future[httpx.Response]":
    """A request for another user each, on a connection of its own."""
    return pool.submit(httpx.get, f"{service.url}/recommend/user-{n}", timeout=DEADLINE)


def occupied(
    start: StartService, redis_server: RunningRedis, pool: ThreadPoolExecutor, **settings: Any
) -> tuple[RunningService, "Future[httpx.Response]"]:
    """A service for one request at a time, and the request that it waits with for Redis."""
    service = hung_service(start, redis_server, max_concurrency=1, **settings)
    first = ask(service, pool, 1)
    in_progress(service, 1)
    return service, first


def in_progress(service: RunningService, number: int) -> None:
    """Wait for a number of requests in progress or waiting, beside that for the metrics."""
    wait_until(lambda: service.metric("requests_in_flight") == number + 1, "the requests")


Connect = Callable[[RunningService, bytes], socket.socket]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections, and sends a request on each."""
    with ExitStack() as stack:

        def new(service: RunningService, request: bytes = b"") -> socket.socket:
            address = "127.0.0.1", service.port
            connection = stack.enter_context(socket.create_connection(address, DEADLINE))
            connection.sendall(request)
            return connection

        yield new


def request(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def response(connection: socket.socket) -> tuple[int, str, bytes]:
    """Status, head and body of the next response; what follows it stays to be read."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(1)
        assert piece, received
        received += piece
    text = received.decode().lower()
    length = int(text.partition("content-length: ")[2].split("\r\n")[0])
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return int(text[9:12]), text, body


def test_requests_above_the_limit_wait_for_their_turn(
    start: StartService, redis_server: RunningRedis, published: Published, pool: ThreadPoolExecutor
) -> None:
    service = hung_service(start, redis_server, max_concurrency=LIMIT)
    asked = [ask(service, pool, n) for n in range(LIMIT)]
    in_progress(service, LIMIT)
    asked += [ask(service, pool, n) for n in range(LIMIT, 10)]
    batch = pool.submit(
        httpx.post, f"{service.url}/recommend", json={"users": ["user-20"]}, timeout=DEADLINE
    )
    # Whoever watches the service is answered, and sees those that wait.
    in_progress(service, 11)
    assert service.get("/healthz").status_code == service.get("/readyz").status_code == 200
    assert not any(future.done() for future in asked)
    redis_server.resume()
    for future in asked:
        assert future.result().status_code == 200
        published.check(future.result().json())
    assert batch.result().status_code == 200
    assert service.metric("requests_shed_total") == 0
    assert service.terminate() == 0


def test_a_request_whose_turn_does_not_come_is_refused_like_any_other_error(
    start: StartService, redis_server: RunningRedis, pool: ThreadPoolExecutor, connect: Connect
) -> None:
    service = hung_service(start, redis_server, max_concurrency=LIMIT, max_wait=SHORT)
    asked = [ask(service, pool, n) for n in range(LIMIT)]
    in_progress(service, LIMIT)
    kept, closing = (
        connect(service, request("/recommend/user-10?k=3")),
        connect(service, request("/recommend/user-11", "Connection: close")),
    )
    for connection in kept, closing:
        status, head, body = response(connection)
        assert status == 503
        assert "\r\nretry-after: 1\r\n" in head
        error = httpx.Response(503, content=body).json()["error"]
        assert error["code"] == "overloaded"
        assert f"\r\nx-request-id: {error['request_id']}" in head
    assert closing.recv(1) == b""
    batch = service.post("/recommend", json={"users": ["user-20"]})
    assert (batch.status_code, batch.json()["error"]["code"]) == (503, "overloaded")
    assert service.metric("requests_shed_total") == 3
    assert service.metric("request_seconds_count", endpoint="unparsed", status="503") == 2
    redis_server.resume()
    assert [future.result().status_code for future in asked] == [200] * LIMIT
    # The kept connection goes on.
    kept.sendall(request("/recommend/user-10?k=3"))
    assert response(kept)[0] == 200
    assert service.terminate() == 0


def test_a_client_that_leaves_gives_its_turn_up(
    start: StartService, redis_server: RunningRedis, pool: ThreadPoolExecutor, connect: Connect
) -> None:
    service, first = occupied(start, redis_server, pool)
    for n in range(5):
        connect(service, request(f"/recommend/user-{n}")).close()
    last = ask(service, pool, 2)
    in_progress(service, 2)  # those that left are not waited for until their turn
    redis_server.resume()
    assert first.result().status_code == last.result().status_code == 200
    assert service.terminate() == 0


def test_what_follows_a_request_that_waits_is_answered_after_it(
    start: StartService, redis_server: RunningRedis, pool: ThreadPoolExecutor, connect: Connect
) -> None:
    service, first = occupied(start, redis_server, pool)
    connection = connect(service, request("/recommend/user-2?k=2"))
    in_progress(service, 2)
    for k in 3, 4:
        connection.sendall(request(f"/recommend/user-2?k={k}"))
    redis_server.resume()
    assert first.result().status_code == 200
    for k in 2, 3, 4:
        status, _, body = response(connection)
        assert (status, len(httpx.Response(200, content=body).json()["items"])) == (200, k)
    assert service.terminate() == 0


def test_what_follows_a_request_that_is_refused_waits_in_its_turn(
    start: StartService, redis_server: RunningRedis, pool: ThreadPoolExecutor, connect: Connect
) -> None:
    service, first = occupied(start, redis_server, pool, max_wait=SHORT)
    connection = connect(service, request("/recommend/user-2?k=2"))
    connection.sendall(request("/recommend/user-2?k=3"))
    assert [response(connection)[0] for _ in range(2)] == [503, 503]
    redis_server.resume()
    assert first.result().status_code == 200
    connection.sendall(request("/recommend/user-2?k=4"))
    assert response(connection)[0] == 200
    assert service.terminate() == 0


def test_requests_that_wait_are_answered_on_shutdown(
    start: StartService, redis_server: RunningRedis, pool: ThreadPoolExecutor
) -> None:
    service = hung_service(start, redis_server, max_concurrency=1)
    asked = [ask(service, pool, n) for n in range(4)]
    in_progress(service, 4)
    service.process.terminate()
    wait_until(lambda: refused(service), "a closed socket")
    redis_server.resume()
    assert [future.result().status_code for future in asked] == [200] * 4
    assert service.process.wait(DEADLINE) == 0


def refused(service: RunningService) -> bool:
    """True if the service takes no more connections."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", service.port)) != 0


def test_connections_above_the_limit_wait_and_then_take_the_place_of_others(
    start: StartService, redis_server: RunningRedis, pool: ThreadPoolExecutor, connect: Connect
) -> None:
    service = hung_service(start, redis_server, max_connections=LIMIT + 1)
    # The client for the metrics has one connection.
    asked = [ask(service, pool, n) for n in range(LIMIT)]
    in_progress(service, LIMIT)
    waiting = [connect(service, request(f"/recommend/user-{n}")) for n in range(2)]
    assert service.metric("requests_in_flight") == LIMIT + 1
    redis_server.resume()
    assert [future.result().status_code for future in asked] == [200] * LIMIT
    assert [response(connection)[0] for connection in waiting] == [200, 200]
    assert service.terminate() == 0


def test_idle_connections_make_room_for_others(start: StartService, connect: Connect) -> None:
    service = start(max_connections=LIMIT)
    idle = []
    for _ in range(3 * LIMIT):
        idle.append(connect(service, request("/healthz")))
        assert response(idle[-1])[0] == 200
    assert idle[0].recv(1) == b""  # the longest idle one was closed
    assert service.terminate() == 0


def test_connections_beyond_the_file_descriptors_wait_and_the_log_says_so(
    published: Published, tmp_path: Path, connect: Connect
) -> None:
    service = RunningService(published.store, tmp_path / "log", ["prlimit", "--nofile=60:60"])
    try:
        connections = [connect(service, b"") for _ in range(80)]
        wait_until(lambda: service.events("connections_wait"), "the log")
        for connection in connections:
            connection.close()
        wait_until(lambda: service.get("/readyz").status_code == 200, "an answer")
        assert service.terminate() == 0
    finally:
        service.close()


@pytest.mark.slow
def test_requests_over_the_limit_are_refused_at_once(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    service = hung_service(start, redis_server, max_concurrency=4, max_wait=0)

    def one(n: int) -> httpx.Response:
        with httpx.Client() as client:
            return client.get(f"{service.url}/recommend/user-{n}", timeout=DEADLINE)

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(one, n) for n in range(12)]
        # Four wait for Redis; all others are answered while they do.
        wait_until(lambda: sum(future.done() for future in asked) == 8, "eight refusals")
        refused = [future.result() for future in asked if future.done()]
        redis_server.resume()
        responses = [future.result() for future in asked]
    for response in refused:
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["error"]["code"] == "overloaded"
    for response in responses:
        if response not in refused:
            published.check(response.json())
    assert service.metric("requests_shed_total") == 8
    assert service.get("/recommend/user-50").status_code == 200
