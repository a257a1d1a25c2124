"""Nothing that a client or Redis does keeps a request, a permit or a connection for ever."""

import asyncio
import json
import socket
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from conftest import Published, StartService
from proxies import SlowProxy
from servers import RunningRedis, RunningService, wait_until
from test_access import entries

from bundle.events import Note
from service.deadline import Deadline
from service.feed import Feed
from service.metrics import Metrics
from service.state import Notes

SECONDS = 0.6
SOON = 4.0
"""Long after a time-out, and less than any other one that could end a connection."""


def test_who_waits_too_long_gets_504_and_leaves_nothing(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    service = start(
        redis_url=redis_server.url,
        redis_timeout=30,
        state_timeout=30,
        request_timeout=SECONDS,
        max_concurrency=20,
        vector_cache_size=0,
    )
    user = published.known[0]
    event = {"user_id": "somebody", "item_id": "item-1", "key": "once"}
    requests: list[tuple[str, str, Any]] = [
        ("GET", f"/recommend/{user}", None),
        ("POST", "/recommend", {"users": published.known[:50]}),
        ("POST", "/events", {"events": [event]}),
        ("GET", "/users/somebody", None),
        ("PUT", "/items/item-1", {"columns": {}}),
    ]

    def ask(request: tuple[str, str, Any]) -> tuple[float, httpx.Response]:
        method, path, body = request
        started = time.monotonic()
        with httpx.Client(base_url=service.url, timeout=20) as client:
            response = client.request(method, path, json=body)
        return time.monotonic() - started, response

    redis_server.hang()
    # Each round takes all permits: the second one finds them given back.
    for _ in range(2):
        with ThreadPoolExecutor(20) as pool:
            for seconds, response in pool.map(ask, requests * 4):
                assert response.status_code == 504, response.text
                assert response.json()["error"]["code"] == "timed_out"
                assert response.headers["x-request-id"]
                assert SECONDS * 0.9 < seconds < SOON
    redis_server.resume()
    wait_until(lambda: ask(requests[0])[1].status_code == 200, "Redis")
    for request, status in zip(requests, (200, 200, 202, 200, 200), strict=True):
        assert ask(request)[1].status_code == status
    assert ask(requests[2])[1].json() == {"accepted": 0, "repeated": 1}
    published.check(service.get(f"/recommend/{published.known[1]}").json())
    assert service.metric("requests_in_flight") == 1
    endpoint = "/recommend/{user_id}"
    assert service.metric("request_seconds_count", endpoint=endpoint, status="504") >= 8
    assert not service.events("request_failed")
    assert service.terminate() == 0


def test_a_storm_of_time_outs_mixes_up_nobody(
    start: StartService, redis_server: RunningRedis, published: Published
) -> None:
    users = [user for user in published.known if user.startswith("user-")][:200]
    # A client may be this slow as well: one that does not ask in time is not answered.
    seconds = 1.0
    proxy = SlowProxy(redis_server.port, (0.0, seconds * 1.25))
    try:
        service = start(
            redis_url=proxy.url,
            redis_timeout=5,
            request_timeout=seconds,
            vector_cache_size=1,
            breaker_failures=1_000_000,
        )

        async def storm() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=60)
            async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=20) as client:
                paths = [f"/recommend/{user}" for user in users * 3]
                return await asyncio.gather(*map(client.get, paths))

        answers = asyncio.run(storm())
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 504}
        for user, answer in zip(users * 3, answers, strict=True):
            if answer.status_code == 200:
                assert answer.json()["user_id"] == user
                published.check(answer.json())
        assert service.metric("redis_errors_total", kind="corrupt") == 0
        assert service.metric("requests_in_flight") == 1
    finally:
        proxy.close()


@pytest.fixture
def patient(start: StartService, tmp_path: Any) -> RunningService:
    """A service that waits for its clients for SECONDS, with keys."""
    keys = tmp_path / "keys.json"
    keys.write_text(entries("reader"))
    return start(request_timeout=SECONDS, keys=keys)


def connect(service: RunningService, **options: int) -> socket.socket:
    connection = socket.socket()
    for name, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    connection.settimeout(SOON)
    connection.connect(("127.0.0.1", service.port))
    return connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        data = connection.recv(1000)
        assert data, f"closed after {received!r}"
        received += data
    return received


def drip(connection: socket.socket, piece: bytes) -> bytes:
    """Send a piece again and again, and return what came until the other side closed."""
    received = b""
    connection.settimeout(0.1)
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        try:
            connection.sendall(piece)
            data = connection.recv(65_536)
        except TimeoutError:
            continue
        except ConnectionError:
            return received
        if not data:
            return received
        received += data
    raise AssertionError(f"still open after {SOON} s: {received!r}")


HEAD = b"POST /recommend HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: 100000\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"


@pytest.mark.parametrize(
    ("sent", "piece"), [(LENGTH, b" "), (LENGTH, b""), (CHUNKED, b"1\r\n \r\n")]
)
def test_a_body_that_comes_too_slowly(start: StartService, sent: bytes, piece: bytes) -> None:
    service = start(request_timeout=SECONDS)
    with connect(service) as connection:
        connection.sendall(HEAD + sent)
        answer = drip(connection, piece)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "body_timeout"
    assert service.metric("request_seconds_count", status="408") == 1
    assert service.metric("requests_in_flight") == 1


@pytest.mark.parametrize(
    ("sent", "piece", "answered"),
    [
        (b"", b"", b""),
        (b"", b"\r\n", b""),
        (b"GET /healthz HT", b"", b""),
        (b"GET /healthz HTTP/1.1\r\nX: ", b"x", b""),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"\r\n", b"HTTP/1.1 200 "),
        (b"GET /healthz HTTP/1.1\r\n\r\nGET /", b"x", b"HTTP/1.1 200 "),
        # Answered before its body is there.
        (HEAD + LENGTH, b" ", b"HTTP/1.1 401 "),
        (b"GET /healthz HTTP/1.1\r\n" + LENGTH, b" ", b"HTTP/1.1 200 "),
    ],
)
def test_connections_that_are_left_open(
    patient: RunningService, sent: bytes, piece: bytes, answered: bytes
) -> None:
    with connect(patient) as connection:
        connection.sendall(sent)
        answer = drip(connection, piece)
    assert answer.startswith(answered)
    assert bool(answer) == bool(answered)


def test_a_head_has_a_size(patient: RunningService) -> None:
    for sent in (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"):
        with connect(patient) as connection:
            connection.sendall(sent)
            received = b""
            try:
                for _ in range(10_000):
                    connection.sendall(b"x" * 500 if sent[-1:] != b"\n" else b"a: b\r\n" * 80)
                raise AssertionError("it takes megabytes")
            except ConnectionError:
                pass
            try:
                received = connection.recv(1000)
            except ConnectionError:
                continue
            assert received.startswith(b"HTTP/1.1 400 ") or not received


def test_a_connection_serves_on_after_a_pause(patient: RunningService) -> None:
    """Longer than a request may take, but not too long for one that is idle."""
    with connect(patient) as connection:
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            read_until(connection, b'{"status":"alive"}')
            time.sleep(SECONDS * 1.5)
        for piece in (b"GET /hea", b"lthz HT", b"TP/1.1\r\n\r\n"):
            connection.sendall(piece)
            time.sleep(SECONDS / 6)
        read_until(connection, b'{"status":"alive"}')


def large_request(published: Published) -> bytes:
    """What is answered with megabytes."""
    body = json.dumps({"users": published.known[:330], "k": 300, "exclude_seen": False}).encode()
    return HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_who_does_not_read_is_not_waited_for(start: StartService, published: Published) -> None:
    service = start(request_timeout=SECONDS)
    with connect(service, SO_RCVBUF=4096) as connection:
        connection.sendall(large_request(published))
        time.sleep(SECONDS * 2 + 1)
        received = b""
        try:
            while data := connection.recv(65_536):
                received += data
        except ConnectionError:
            pass
    if received:
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert len(body) < length  # its connection was broken off
    wait_until(lambda: service.metric("requests_in_flight") == 1, "the request's end")


def test_who_reads_slowly_gets_everything(start: StartService, published: Published) -> None:
    service = start(request_timeout=SECONDS)
    with connect(service, SO_RCVBUF=65_536) as connection:
        connection.sendall(large_request(published))
        started = time.monotonic()
        head, _, body = read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            data = connection.recv(150_000)
            assert data, f"closed after {len(body)} of {length} bytes"
            body += data
            time.sleep(0.05)
    assert len(json.loads(body)["results"]) == 330
    assert time.monotonic() - started > SECONDS * 2


def test_somebody_elses_cancellation_is_none_of_ours() -> None:
    async def run() -> None:
        sent: list[Any] = []

        async def forever(*_: Any) -> None:
            await asyncio.sleep(30)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
        task = asyncio.create_task(Deadline(forever, 5)(scope, forever, send))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not sent
        await Deadline(forever, 0.1)(scope, forever, send)  # type: ignore[arg-type]
        assert [message.get("status") for message in sent] == [504, None]

    asyncio.run(run())


def test_changes_are_taken_in_whoever_gives_up() -> None:
    """Half of a change would never be made whole: its note has been read."""

    class OneNote:
        async def notes(self, after: int) -> Notes:
            return Notes([] if after else [Note("user", "u", 1, b"{}")])

    async def run() -> None:
        feed = Feed(OneNote(), 1, Metrics())  # type: ignore[arg-type]
        heard: list[str] = []

        async def listen(_: Collection[str], users: Collection[str]) -> None:
            await asyncio.sleep(0.1)
            heard.extend(users)

        feed.listen(listen)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(feed.sync(), 0.02)
        await asyncio.sleep(0.2)
        assert heard == ["u"]

    asyncio.run(run())
